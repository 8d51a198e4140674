/* test/promise/plugin/tls_storage.c — a library with thread-local storage. SPDX-License-Identifier: MIT */
/*
 * Built twenty times for dl_tls.c. With STORAGE_IS_STATIC=1 its 48 bytes come out of the few that the
 * dynamic linker keeps for libraries loaded late (initial-exec); with 0 libc allocates its 3,000 bytes
 * for each thread that touches them.
 */
#if STORAGE_IS_STATIC
enum { STORAGE_BYTES = 48 };
#define STORAGE_MODEL "initial-exec"
#else
enum { STORAGE_BYTES = 3000 };
#define STORAGE_MODEL "global-dynamic"
#endif

static _Thread_local __attribute__((tls_model(STORAGE_MODEL))) unsigned char storage[STORAGE_BYTES];

/* Sets each byte of this thread's from `from` to `to`; how many were not `from`. */
int hakmem_storage_use(int from, int to);

int hakmem_storage_use(int from, int to) {
    int bad = 0;
    for (int i = 0; i < STORAGE_BYTES; i++) {
        bad += storage[i] != from;
        storage[i] = (unsigned char)to;
    }
    return bad;
}
