/* cli/bench_statistics.h — what `hakmem bench` concludes from its numbers. SPDX-License-Identifier: MIT */
/*
 * Pure functions of arrays. NAN stands for a run that failed or a number that was not given; it is left out
 * everywhere. Nothing here depends on a clock: the same numbers give the same answer on every machine.
 */
#ifndef HAKMEM_CLI_BENCH_STATISTICS_H
#define HAKMEM_CLI_BENCH_STATISTICS_H

#include <stddef.h>

enum {
    BENCH_VALUES_MAX = 1000, /* rounds of one run of the command */
    /*
     * With n pairs, the whole range of the ratios holds the true median with probability 1 - 2^(1-n): with
     * five, 93.75 %. No interval within that range can hold it more often, so five cannot make 95 %.
     */
    BENCH_PAIRS_MIN = 6,
};

#define BENCH_LOST_ABOVE 1.03  /* an interval above this is lost; one below 1.00 is won */
#define BENCH_TIE_WIDTH 0.10   /* high / low - 1: a wider interval is no tie, but no answer */
#define BENCH_CALM_SPREAD 0.10 /* spread of the calibration loop above which nothing is concluded */

struct bench_summary {
    size_t count; /* values that are there; when 0 the others are NAN */
    double min;
    double quartile1;
    double median;
    double quartile3;
    double max;
};

/* Quartiles by linear interpolation between the two nearest values (Hyndman and Fan 1996, type 7). */
struct bench_summary bench_summarize(const double *values, size_t count);

/* (third quartile - first quartile) / median; NAN without values, or when the median is not above 0. */
double bench_spread(const struct bench_summary *summary);

struct bench_ratio {
    size_t pairs; /* rounds in which both have a value above 0; when 0 the others are NAN */
    double median;
    double low; /* the interval that holds the true median in 95 of 100 cases */
    double high;
};

/*
 * bench_compare — ours ÷ theirs, round by round: what disturbed the machine for longer than a round disturbed
 * both. The interval is the percentile bootstrap of the median (Efron 1979), 4,000 resamples drawn by a
 * generator that starts from the same seed each time.
 */
struct bench_ratio bench_compare(const double *ours, const double *theirs, size_t count);

enum bench_verdict { BENCH_WON, BENCH_TIE, BENCH_LOST, BENCH_NOISY, BENCH_FEW, BENCH_NONE };

/*
 * bench_judge — the rule, in this order:
 *
 *   none    no pair at all           few    fewer than BENCH_PAIRS_MIN
 *   noisy   the calibration loop's spread is above BENCH_CALM_SPREAD, or not known
 *   won     high < 1.00              lost   low > BENCH_LOST_ABOVE
 *   noisy   the interval is wider than BENCH_TIE_WIDTH              tie   the rest
 */
enum bench_verdict bench_judge(const struct bench_ratio *ratio, double calibration_spread);

/* "won", "tie", "lost", "noisy", "few", "". */
const char *bench_verdict_word(enum bench_verdict verdict);

/* Of the values that are above 0; NAN when there are none. */
double bench_geometric_mean(const double *values, size_t count);

#endif
