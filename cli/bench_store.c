/* cli/bench_store.c — memory for results that the runs do not inherit. SPDX-License-Identifier: MIT */
/*
 * A forked child begins with what of our memory is resident, and keeps that as its peak RSS through exec: with the
 * results of some hundred runs on the heap, a program of 1.5 MB would be reported with 5. So results are kept in
 * mappings that fork leaves out (MADV_DONTFORK). They are needed to the end and never given back.
 */
#include "bench.h"

#include <stdalign.h>
#include <sys/mman.h>

enum { CHUNK_BYTES = 1 << 20 };

static struct {
    char *next; /* free from here on, zeroed */
    size_t left;
} g_bench_store;

void *bench_store(size_t size) {
    size_t rounded = (size + alignof(max_align_t) - 1) & ~(alignof(max_align_t) - 1);
    if (rounded < size) {
        return NULL;
    }
    if (rounded > g_bench_store.left) {
        size_t bytes = rounded > CHUNK_BYTES ? rounded : CHUNK_BYTES;
        void *chunk = mmap(NULL, bytes, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
        if (chunk == MAP_FAILED) {
            return NULL;
        }
        madvise(chunk, bytes,
                MADV_DONTFORK); /* where it fails, peaks of small programs are too high */
        g_bench_store.next = chunk;
        g_bench_store.left = bytes;
    }
    void *memory = g_bench_store.next;
    g_bench_store.next += rounded;
    g_bench_store.left -= rounded;
    return memory;
}
