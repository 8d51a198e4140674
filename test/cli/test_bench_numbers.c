/* test/cli/test_bench_numbers.c — what `hakmem bench` makes of numbers. SPDX-License-Identifier: MIT */
/*
 * Goal: medians, intervals and verdicts are right, whatever is missing; workloads' latencies and result lines are
 * read as they were meant; numbers are shown with three digits.
 * Method: data whose answers are known, by hand or exactly: for an odd number of distinct ratios the bootstrap's
 * median is at most the k-th smallest with probability P(Binomial(n, k/n) > n/2), which says where the interval's
 * ends must lie; and samples of a known distribution, whose median the interval must hold about as often as told.
 */
#include "bench/bench_latency.h"

#include "../unit/harness.h"
#include "cli/bench_child.h"
#include "cli/bench_statistics.h"
#include "cli/bench_text.h"

#include <math.h>

static bool is_near(double a, double b) {
    return fabs(a - b) <= 1e-12 * fabs(b);
}

static void summaries(void **state) {
    const double values[] = {5, NAN, 1, 3, NAN, 2, 4};
    struct bench_summary five = bench_summarize(values, 7);
    CHECK(five.count == 5);
    CHECK(is_near(five.min, 1) && is_near(five.max, 5));
    CHECK(is_near(five.quartile1, 2) && is_near(five.median, 3) && is_near(five.quartile3, 4));
    CHECK(is_near(bench_spread(&five), 2.0 / 3));

    const double four[] = {10, 20, 30, 50};
    struct bench_summary even = bench_summarize(four, 4);
    CHECK(is_near(even.median, 25) && is_near(even.quartile1, 17.5) && is_near(even.quartile3, 35));

    struct bench_summary one = bench_summarize(four, 1);
    CHECK(one.count == 1 && is_near(one.quartile1, 10) && is_near(one.quartile3, 10));
    CHECK(bench_spread(&one) == 0);

    struct bench_summary none = bench_summarize(values + 1, 1);
    CHECK(none.count == 0 && isnan(none.median) && isnan(bench_spread(&none)));
}

static void equal_ratios_have_no_width(void **state) {
    const double ours[] = {9, 18, 27, 36, 45, 54, 63, 72};
    const double theirs[] = {10, 20, 30, 40, 50, 60, 70, 80};
    struct bench_ratio ratio = bench_compare(ours, theirs, 8);
    CHECK(ratio.pairs == 8);
    CHECK(is_near(ratio.median, 0.9) && is_near(ratio.low, 0.9) && is_near(ratio.high, 0.9));
    CHECK(bench_judge(&ratio, 0.01) == BENCH_WON);
}

/* P(median* <= x(2)) = 0.007 and P(median* <= x(3)) = 0.05: the lower end is the third, the upper one the ninth. */
static void interval_of_eleven(void **state) {
    double ours[11];
    double theirs[11];
    for (int i = 0; i < 11; i++) {
        theirs[i] = 1 + i;
        ours[i] = theirs[i] * (1 + 0.01 * (i * 7 % 11)); /* 1.00 … 1.10, in no order */
    }
    struct bench_ratio ratio = bench_compare(ours, theirs, 11);
    CHECK(ratio.pairs == 11);
    CHECK(is_near(ratio.median, 1.05));
    CHECK(is_near(ratio.low, 1.02));
    CHECK(is_near(ratio.high, 1.08));
}

/* Of an even number the median lies between two: its interval's ends would differ from seed to seed. */
static void the_same_every_time(void **state) {
    double ours[10];
    double theirs[10];
    for (int i = 0; i < 10; i++) {
        theirs[i] = 1;
        ours[i] = exp(i * i / 1000.0);
    }
    struct bench_ratio ratio = bench_compare(ours, theirs, 10);
    CHECK(ratio.low < ratio.median && ratio.median < ratio.high);
    for (int i = 0; i < 50; i++) {
        struct bench_ratio again = bench_compare(ours, theirs, 10);
        CHECK(memcmp(&ratio, &again, sizeof ratio) == 0);
    }
}

/* Only rounds in which both have a value are pairs: the machine was the same for both. */
static void missing_rounds(void **state) {
    const double ours[] = {1, NAN, 3, 4, 0, 6};
    const double theirs[] = {2, 2, NAN, 8, 5, 12};
    struct bench_ratio ratio = bench_compare(ours, theirs, 6);
    CHECK(ratio.pairs == 3 && is_near(ratio.median, 0.5));
    CHECK(bench_judge(&ratio, 0) == BENCH_FEW);
    ratio = bench_compare(ours + 1, theirs + 1, 2);
    CHECK(ratio.pairs == 0 && isnan(ratio.low));
    CHECK(bench_judge(&ratio, 0) == BENCH_NONE);
}

static double uniform(uint64_t *state) {
    *state = *state * UINT64_C(6364136223846793005) + UINT64_C(1442695040888963407);
    return ((double)(*state >> 11) + 0.5) / 9007199254740992.0;
}

/* Box and Muller 1958. */
static double normal(uint64_t *state) {
    double radius = sqrt(-2 * log(uniform(state)));
    return radius * cos(6.283185307179586 * uniform(state));
}

static void interval_holds_the_median(void **state) {
    enum { TRIALS = 400, ROUNDS = 15 };
    uint64_t random = 42;
    int held = 0;
    int wrong_verdicts = 0;
    for (int trial = 0; trial < TRIALS; trial++) {
        double ours[ROUNDS];
        double theirs[ROUNDS];
        double drift = 1;
        for (int i = 0; i < ROUNDS; i++) {
            drift *= exp(0.2 * normal(&random)); /* the machine: the same for both of a round */
            theirs[i] = drift * exp(0.01 * normal(&random));
            ours[i] = drift * 1.015 * exp(0.01 * normal(&random));
        }
        struct bench_ratio ratio = bench_compare(ours, theirs, ROUNDS);
        held += ratio.low <= 1.015 && 1.015 <= ratio.high;
        enum bench_verdict verdict = bench_judge(&ratio, 0.01);
        wrong_verdicts += verdict == BENCH_WON || verdict == BENCH_LOST;
    }
    CHECK(held >= TRIALS * 90 / 100);
    CHECK(held <= TRIALS * 99 / 100); /* wider would be no 95 % */
    CHECK(wrong_verdicts <= TRIALS * 5 / 100);
}

static void verdicts(void **state) {
    struct {
        struct bench_ratio ratio;
        double calibration;
        enum bench_verdict verdict;
    } cases[] = {
        {{10, 0.95, 0.90, 0.999}, 0.01, BENCH_WON},   {{10, 0.95, 0.90, 1.000}, 0.01, BENCH_NOISY},
        {{10, 0.97, 0.95, 1.000}, 0.01, BENCH_TIE},   {{10, 1.00, 0.98, 1.020}, 0.01, BENCH_TIE},
        {{10, 1.10, 1.031, 1.50}, 0.01, BENCH_LOST},  {{10, 1.10, 1.029, 1.12}, 0.01, BENCH_TIE},
        {{10, 1.10, 1.029, 1.20}, 0.01, BENCH_NOISY}, {{10, 0.50, 0.400, 0.60}, 0.11, BENCH_NOISY},
        {{10, 0.50, 0.400, 0.60}, NAN, BENCH_NOISY},  {{5, 0.50, 0.400, 0.60}, 0.01, BENCH_FEW},
        {{6, 0.50, 0.400, 0.60}, 0.10, BENCH_WON},    {{0, NAN, NAN, NAN}, 0.01, BENCH_NONE},
    };
    for (size_t i = 0; i < sizeof cases / sizeof cases[0]; i++) {
        CHECK(bench_judge(&cases[i].ratio, cases[i].calibration) == cases[i].verdict);
    }
    CHECK(strcmp(bench_verdict_word(BENCH_NOISY), "noisy") == 0);
}

static void geometric_means(void **state) {
    const double values[] = {0.5, NAN, 2, 8, 0};
    CHECK(is_near(bench_geometric_mean(values, 5), 2));
    CHECK(isnan(bench_geometric_mean(values + 1, 1)));
}

/* Every bucket begins where the one before it ends, and is at most 1/32 of its time wide. */
static void latency_buckets(void **state) {
    uint64_t before = 0;
    for (size_t bucket = 0; bucket + 1 < LATENCY_BUCKETS; bucket++) {
        uint64_t first = bench_latency_floor_ns(bucket);
        uint64_t last = bench_latency_floor_ns(bucket + 1) - 1;
        CHECK(bucket == 0 ? first == 0 : first == before + 1);
        CHECK(bench_latency_bucket(first) == bucket);
        CHECK(bench_latency_bucket(last) == bucket);
        CHECK((last - first) * LATENCY_FINE <= first);
        before = last;
    }
    CHECK(bench_latency_bucket(UINT64_MAX) == LATENCY_BUCKETS - 1);
}

static void latency_percentiles(void **state) {
    static struct bench_latency latency;
    static struct bench_latency other;
    for (uint64_t ns = 1; ns <= 1000; ns++) {
        bench_latency_add(ns % 2 == 0 ? &latency : &other, ns);
    }
    bench_latency_merge(&latency, &other);
    CHECK(latency.operations == 1000 && latency.max_ns == 1000);
    CHECK(bench_latency_percentile(&latency, 0.5) == 496); /* the bucket of 500 */
    CHECK(bench_latency_percentile(&latency, 0.99) == 976);
    CHECK(bench_latency_percentile(&latency, 0) == 1);
}

static void result_lines(void **state) {
    static struct bench_histogram histogram;
    static struct bench_outcome outcome;
    bench_outcome_init(&outcome);
    outcome.latency = &histogram;
    bench_read_result("operations 7\nresult x operations=1 seconds=9\nnoise\n"
                      "result x operations=2000 seconds=0.5 unknown=3\n"
                      "result x p50_ns=20 p99.9_ns=3000 max_ns=1e6 latency=20:5,3000:1",
                      &outcome);
    CHECK(is_near(outcome.values[METRIC_OPERATIONS], 2000));
    CHECK(is_near(outcome.values[METRIC_PER_OPERATION], 0.00025));
    CHECK(is_near(outcome.values[METRIC_P50], 20e-9));
    CHECK(is_near(outcome.values[METRIC_P999], 3e-6));
    CHECK(is_near(outcome.values[METRIC_LONGEST], 1e-3));
    CHECK(isnan(outcome.values[METRIC_P99]));
    CHECK(histogram.count == 2);
    CHECK(histogram.buckets[1].ns == 3000 && histogram.buckets[1].operations == 1);

    bench_outcome_init(&outcome);
    bench_read_result(
        "results are good\n result x operations=1\nresult\nresult \nresult x latency=5:,",
        &outcome);
    for (int metric = 0; metric < METRIC_COUNT; metric++) {
        CHECK(isnan(outcome.values[metric]));
    }
    CHECK(histogram.count == 0);
}

static void texts(void **state) {
    CHECK(strcmp(bench_seconds_text(1.2345).text, "1.23 s") == 0);
    CHECK(strcmp(bench_seconds_text(0.9999).text, "1.00 s") == 0);
    CHECK(strcmp(bench_seconds_text(0.01234).text, "12.3 ms") == 0);
    CHECK(strcmp(bench_seconds_text(123.4e-9).text, "123 ns") == 0);
    CHECK(strcmp(bench_seconds_text(NAN).text, "–") == 0);
    CHECK(strcmp(bench_bytes_text(1536).text, "1.50 KiB") == 0);
    CHECK(strcmp(bench_bytes_text(3e9).text, "2.79 GiB") == 0);
    CHECK(strcmp(bench_count_text(1234).text, "1234") == 0);
    CHECK(strcmp(bench_count_text(1234567).text, "1.23 M") == 0);
    CHECK(strcmp(bench_percent_text(0.0123).text, "1.2 %") == 0);
    CHECK(strcmp(bench_ratio_text(0.93251).text, "0.933") == 0);
    CHECK(strcmp(bench_ratio_text(12.34).text, "12.3") == 0);
}

int main(void) {
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(summaries),          cmocka_unit_test(equal_ratios_have_no_width),
        cmocka_unit_test(interval_of_eleven), cmocka_unit_test(the_same_every_time),
        cmocka_unit_test(missing_rounds),     cmocka_unit_test(interval_holds_the_median),
        cmocka_unit_test(verdicts),           cmocka_unit_test(geometric_means),
        cmocka_unit_test(latency_buckets),    cmocka_unit_test(latency_percentiles),
        cmocka_unit_test(result_lines),       cmocka_unit_test(texts),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
