/* cli/bench_text.c — numbers as people read them. SPDX-License-Identifier: MIT */
#include "bench_text.h"

#include <math.h>

struct unit {
    double size;
    const char *name;
};

/* Three digits, in the largest unit that leaves at least one before the point. */
static struct bench_text with_unit(double value, const struct unit *units, size_t count) {
    struct bench_text result = {"–"};
    if (isnan(value)) {
        return result;
    }
    size_t i = 0;
    /* 999.5 of a unit would be shown as 1000. */
    while (i + 1 < count && value < units[i].size * 0.9995) {
        i++;
    }
    double shown = value / units[i].size;
    int digits = shown < 9.995 ? 2 : shown < 99.95 ? 1 : 0;
    snprintf(result.text, sizeof result.text, "%.*f%s%s", value == 0 ? 0 : digits, shown,
             *units[i].name == '\0' ? "" : " ", units[i].name);
    return result;
}

struct bench_text bench_seconds_text(double seconds) {
    static const struct unit units[] = {{1, "s"}, {1e-3, "ms"}, {1e-6, "µs"}, {1e-9, "ns"}};
    return with_unit(seconds, units, sizeof units / sizeof units[0]);
}

struct bench_text bench_bytes_text(double bytes) {
    static const struct unit units[] = {
        {1073741824.0, "GiB"}, {1048576, "MiB"}, {1024, "KiB"}, {1, "B"}};
    return with_unit(bytes, units, sizeof units / sizeof units[0]);
}

struct bench_text bench_count_text(double count) {
    static const struct unit units[] = {{1e9, "G"}, {1e6, "M"}, {1e3, "k"}, {1, ""}};
    if (count < 10000 && count == floor(count)) {
        struct bench_text result;
        snprintf(result.text, sizeof result.text, "%.0f", count);
        return result;
    }
    return with_unit(count, units, sizeof units / sizeof units[0]);
}

struct bench_text bench_percent_text(double share) {
    struct bench_text result = {"–"};
    if (!isnan(share)) {
        snprintf(result.text, sizeof result.text, "%.1f %%", share * 100);
    }
    return result;
}

struct bench_text bench_ratio_text(double ratio) {
    struct bench_text result = {"–"};
    if (!isnan(ratio)) {
        snprintf(result.text, sizeof result.text, ratio < 9.995 ? "%.3f" : "%.1f", ratio);
    }
    return result;
}
