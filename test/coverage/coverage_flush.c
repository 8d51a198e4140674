/* test/coverage/coverage_flush.c — what a process counted survives its sudden end. SPDX-License-Identifier: MIT */

/*
 * gcov writes a process's counters when it exits. Most of what the tests do happens in children that
 * end by _exit(), or by the library's own abort(); the linker sends both here first (--wrap). What
 * ends by a real fault is not counted: nothing may be run there.
 */

_Noreturn void __real__exit(int status);
_Noreturn void __real_abort(void);
_Noreturn void __wrap__exit(int status);
_Noreturn void __wrap_abort(void);
void __gcov_dump(void);

_Noreturn void __wrap__exit(int status) {
    __gcov_dump();
    __real__exit(status);
}

_Noreturn void __wrap_abort(void) {
    __gcov_dump();
    __real_abort();
}
