# test/abi/inputs/compress.sh — there and back with two threads. SPDX-License-Identifier: MIT
set -eu
seq 1 900000 | awk '{ print $1, ($1 * $1) % 65537, "text to compress" }' >input
case $1 in
xz)
  xz -T2 --block-size=1MiB -2 -k -c input >packed
  xz -T2 -d -c packed >unpacked
  ;;
zstd)
  zstd -q -T2 -9 input -o packed
  zstd -q -T2 -d packed -o unpacked
  ;;
esac
sha256sum input packed unpacked; cmp input unpacked
