/* src/prim/linux/syscall.h — raw system calls and the thread register. SPDX-License-Identifier: MIT */

/*
 * libc's wrappers would write errno (which free must keep) and would hide the call from whoever
 * looks for hakmem's own system calls by instruction pointer. Register conventions: syscall(2).
 */
#ifndef HAK_PRIM_LINUX_SYSCALL_H
#define HAK_PRIM_LINUX_SYSCALL_H

#include <stdint.h>
#include <sys/syscall.h>

/* Returns the kernel's result: -4095 … -1 is a negated errno. */
static inline long hak_syscall6(long number, long a, long b, long c, long d, long e, long f) {
#if defined(__x86_64__)
    long result;
    register long r10 __asm__("r10") = d;
    register long r8 __asm__("r8") = e;
    register long r9 __asm__("r9") = f;
    __asm__ volatile("syscall"
                     : "=a"(result)
                     : "a"(number), "D"(a), "S"(b), "d"(c), "r"(r10), "r"(r8), "r"(r9)
                     : "rcx", "r11", "memory");
    return result;
#elif defined(__aarch64__)
    register long x8 __asm__("x8") = number;
    register long x0 __asm__("x0") = a;
    register long x1 __asm__("x1") = b;
    register long x2 __asm__("x2") = c;
    register long x3 __asm__("x3") = d;
    register long x4 __asm__("x4") = e;
    register long x5 __asm__("x5") = f;
    __asm__ volatile("svc #0"
                     : "+r"(x0)
                     : "r"(x8), "r"(x1), "r"(x2), "r"(x3), "r"(x4), "r"(x5)
                     : "memory");
    return x0;
#else
#error "hakmem knows x86-64 and aarch64"
#endif
}

static inline int hak_syscall_error(long result) {
    return result < 0 && result >= -4095 ? (int)-result : 0;
}

static inline uintptr_t hak_thread_register(void) {
    uintptr_t self;
#if defined(__x86_64__)
    __asm__("movq %%fs:0, %0" : "=r"(self)); /* the TCB's first word is its own address */
#elif defined(__aarch64__)
    __asm__("mrs %0, tpidr_el0" : "=r"(self));
#endif
    return self;
}

#endif
