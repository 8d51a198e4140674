/* cli/bench_statistics.c — medians, paired ratios and their intervals. SPDX-License-Identifier: MIT */
#include "bench_statistics.h"

#include <math.h>
#include <stdint.h>
#include <stdlib.h>

enum { RESAMPLES = 4000 };

static int compare_doubles(const void *a, const void *b) {
    double x = *(const double *)a;
    double y = *(const double *)b;
    return (x > y) - (x < y);
}

/* `sorted` has at least one value. */
static double quantile(const double *sorted, size_t count, double share) {
    double position = share * (double)(count - 1);
    size_t below = (size_t)position;
    if (below + 1 >= count) {
        return sorted[count - 1];
    }
    return sorted[below] + (position - (double)below) * (sorted[below + 1] - sorted[below]);
}

struct bench_summary bench_summarize(const double *values, size_t count) {
    double sorted[BENCH_VALUES_MAX];
    size_t kept = 0;
    for (size_t i = 0; i < count && kept < BENCH_VALUES_MAX; i++) {
        if (!isnan(values[i])) {
            sorted[kept++] = values[i];
        }
    }
    if (kept == 0) {
        return (struct bench_summary){0, NAN, NAN, NAN, NAN, NAN};
    }
    qsort(sorted, kept, sizeof *sorted, compare_doubles);
    return (struct bench_summary){
        .count = kept,
        .min = sorted[0],
        .quartile1 = quantile(sorted, kept, 0.25),
        .median = quantile(sorted, kept, 0.5),
        .quartile3 = quantile(sorted, kept, 0.75),
        .max = sorted[kept - 1],
    };
}

double bench_spread(const struct bench_summary *summary) {
    if (summary->count == 0 || !(summary->median > 0)) {
        return NAN;
    }
    return (summary->quartile3 - summary->quartile1) / summary->median;
}

/* S. Vigna 2016, "An experimental exploration of Marsaglia's xorshift generators": xorshift64*. */
static uint64_t next_random(uint64_t *state) {
    *state ^= *state >> 12;
    *state ^= *state << 25;
    *state ^= *state >> 27;
    return *state * UINT64_C(0x2545F4914F6CDD1D);
}

/*
 * Sorts by counting how often each place of `sorted` was drawn: a resample's median is then found by walking
 * over the places, without sorting again.
 */
static double resampled_median(const double *sorted, size_t count, uint64_t *random) {
    uint16_t drawn[BENCH_VALUES_MAX] = {0};
    for (size_t i = 0; i < count; i++) {
        drawn[(next_random(random) >> 32) * count >> 32]++;
    }
    size_t lower_rank = (count - 1) / 2;
    size_t upper_rank = count / 2;
    size_t seen = 0;
    double lower = sorted[0];
    for (size_t i = 0; i < count; i++) {
        if (drawn[i] == 0) {
            continue;
        }
        if (seen <= lower_rank) {
            lower = sorted[i];
        }
        seen += drawn[i];
        if (seen > upper_rank) {
            return (lower + sorted[i]) / 2;
        }
    }
    return lower;
}

struct bench_ratio bench_compare(const double *ours, const double *theirs, size_t count) {
    double ratios[BENCH_VALUES_MAX];
    size_t pairs = 0;
    for (size_t i = 0; i < count && pairs < BENCH_VALUES_MAX; i++) {
        if (ours[i] > 0 && theirs[i] > 0) { /* false for NAN, too */
            ratios[pairs++] = ours[i] / theirs[i];
        }
    }
    if (pairs == 0) {
        return (struct bench_ratio){0, NAN, NAN, NAN};
    }
    qsort(ratios, pairs, sizeof *ratios, compare_doubles);
    double medians[RESAMPLES];
    uint64_t random = UINT64_C(0x9E3779B97F4A7C15);
    for (int i = 0; i < RESAMPLES; i++) {
        medians[i] = resampled_median(ratios, pairs, &random);
    }
    qsort(medians, RESAMPLES, sizeof *medians, compare_doubles);
    return (struct bench_ratio){
        .pairs = pairs,
        .median = quantile(ratios, pairs, 0.5),
        .low = quantile(medians, RESAMPLES, 0.025),
        .high = quantile(medians, RESAMPLES, 0.975),
    };
}

enum bench_verdict bench_judge(const struct bench_ratio *ratio, double calibration_spread) {
    if (ratio->pairs == 0) {
        return BENCH_NONE;
    }
    if (ratio->pairs < BENCH_PAIRS_MIN) {
        return BENCH_FEW;
    }
    if (!(calibration_spread <= BENCH_CALM_SPREAD)) {
        return BENCH_NOISY;
    }
    if (ratio->high < 1.0) {
        return BENCH_WON;
    }
    if (ratio->low > BENCH_LOST_ABOVE) {
        return BENCH_LOST;
    }
    return ratio->high / ratio->low - 1 > BENCH_TIE_WIDTH ? BENCH_NOISY : BENCH_TIE;
}

const char *bench_verdict_word(enum bench_verdict verdict) {
    static const char *const words[] = {
        [BENCH_WON] = "won",     [BENCH_TIE] = "tie", [BENCH_LOST] = "lost",
        [BENCH_NOISY] = "noisy", [BENCH_FEW] = "few", [BENCH_NONE] = "",
    };
    return words[verdict];
}

double bench_geometric_mean(const double *values, size_t count) {
    double sum = 0;
    size_t kept = 0;
    for (size_t i = 0; i < count; i++) {
        if (values[i] > 0) {
            sum += log(values[i]);
            kept++;
        }
    }
    return kept == 0 ? NAN : exp(sum / (double)kept);
}
