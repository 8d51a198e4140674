#!/usr/bin/env bash
# test/promise/elf_shape.sh — what the library file promises. SPDX-License-Identifier: MIT
#
# Goal: at most 64 bytes of static TLS, initial-exec only; never unloaded; no executable stack, no
# text relocations; nothing exported but the documented names; nothing needed but libc, and none of
# the functions that the glibc manual forbids in a malloc.
# Method: readelf and nm on $HAKTEST_LIB, one line per promise; documented is what the public header declares.
set -eu -o pipefail

lib=${HAKTEST_LIB:?HAKTEST_LIB names the library}
passed=0
failed=0

check() { # check WHAT STATUS
    if [ "$2" = 0 ]; then
        echo "ok - $1"
        passed=$((passed + 1))
    else
        echo "not ok - $1"
        failed=$((failed + 1))
    fi
}

holds() { # holds COMMAND...: prints 0 or 1
    if "$@" >/dev/null 2>&1; then echo 0; else echo 1; fi
}

lacks() { # lacks COMMAND...: the opposite
    if "$@" >/dev/null 2>&1; then echo 1; else echo 0; fi
}

segments=$(readelf -lW "$lib")
dynamic=$(readelf -dW "$lib")
relocations=$(readelf -rW "$lib")
undefined=$(nm -D --undefined-only "$lib" | awk '{print $NF}' | sed 's/@.*//' | sort -u)
defined=$(nm -D --defined-only "$lib" | awk '$2 != "A" {print $NF}' | sed 's/@.*//' | sort -u)

# Static TLS: `TLS offset vaddr paddr filesz memsz`.
tls_count=$(awk '$1 == "TLS"' <<<"$segments" | wc -l)
tls_bytes=$(awk '$1 == "TLS" {print $6}' <<<"$segments" | head -n 1)
tls_bytes=$((${tls_bytes:-0}))
check "one TLS segment ($tls_count)" "$(holds test "$tls_count" -eq 1)"
check "static TLS is at most 64 bytes ($tls_bytes)" "$(holds test "$tls_bytes" -le 64)"
check "no dynamic TLS relocation" \
    "$(lacks grep -E 'DTPMOD|DTPOFF|DTPREL|TLSDESC' <<<"$relocations")"
check "an initial-exec TLS relocation" "$(holds grep -E 'TPOFF|TPREL' <<<"$relocations")"
check "no call of __tls_get_addr" "$(lacks grep -x __tls_get_addr <<<"$undefined")"
check "flag STATIC_TLS" "$(holds grep STATIC_TLS <<<"$dynamic")"

check "flag NODELETE" "$(holds grep -E 'FLAGS_1.*NODELETE' <<<"$dynamic")"
check "soname libhakmem.so.1" "$(holds grep -F '[libhakmem.so.1]' <<<"$dynamic")"
check "no text relocations" "$(lacks grep TEXTREL <<<"$dynamic")"
check "no run path" "$(lacks grep -E 'RPATH|RUNPATH' <<<"$dynamic")"
check "stack is not executable" \
    "$(holds awk '$1 == "GNU_STACK" {ok = $0 !~ /RWE/} END {exit !ok}' <<<"$segments")"
check "no segment is writable and executable" \
    "$(lacks awk '$1 == "LOAD" && /RWE/ {bad = 1} END {exit !bad}' <<<"$segments")"
check "read-only after relocation" "$(holds grep GNU_RELRO <<<"$segments")"

others=$(sed -n 's/.*(NEEDED).*\[\(.*\)\]/\1/p' <<<"$dynamic" |
    grep -vE '^(libc\.so|libc\.musl|ld-linux|ld-musl)' || true)
check "needs nothing but libc (${others:-none other})" "$(holds test -z "$others")"

for name in fopen fopen64 fdopen opendir dlopen dlsym dlvsym __libc_dlsym sigaction signal \
    system popen; do
    check "does not call $name" "$(lacks grep -x "$name" <<<"$undefined")"
done

# The closed list of names: those of the public header, and libc's.
header=$(dirname "$0")/../../include/hakmem/hakmem.h
allowed=$(grep -oE '\bhakmem_[a-z0-9_]+\(' "$header" | tr -d '(' | sort -u | paste -sd '|')
allowed+='|malloc|calloc|realloc|free|reallocarray|aligned_alloc|memalign|posix_memalign'
allowed+='|valloc|pvalloc'
allowed+='|cfree|free_sized|free_aligned_sized|malloc_usable_size|mallinfo|mallinfo2|malloc_info'
allowed+='|mallopt|malloc_trim|malloc_stats|sdallocx|nallocx|__posix_memalign'
allowed+='|__libc_(malloc|calloc|realloc|free|cfree|memalign|valloc|pvalloc)'
allowed+='|_Zn[wa]m(St11align_val_t)?(RKSt9nothrow_t)?'
allowed+='|_Zd[la]Pvm?(St11align_val_t)?|_Zd[la]Pv(St11align_val_t)?RKSt9nothrow_t'
extra=$(grep -vxE "$allowed" <<<"$defined" | tr '\n' ' ' || true)
check "exports only documented names (${extra:-no other})" "$(holds test -z "$extra")"

echo "$passed passed, $failed failed"
test "$failed" -eq 0
