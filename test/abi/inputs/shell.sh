# test/abi/inputs/shell.sh — bash, coreutils, sed, awk, find, tar. SPDX-License-Identifier: MIT
set -eu
seq 1 200000 | awk '{ print ($1 * 7919) % 200003, "line", $1 }' >lines
sort -n lines >sorted; sort -k3,3nr -k1,1 --parallel=2 -S 2M lines | head -n 5
sed -E 's/([0-9]+) line ([0-9]+)/\2:\1/' sorted | cut -d: -f2 | uniq -c | sort -rn | head -n 3
awk '{ n[$1 % 1009] += $3 } END { for (k in n) print k, n[k] }' sorted | sort -n | sha256sum
mkdir -p tree; for i in $(seq 1 300); do mkdir -p tree/d$((i % 17)); echo "file $i" >tree/d$((i % 17))/f$i; done
find tree -type f -name 'f*7' | sort | xargs cat | sha256sum
tar --sort=name --mtime=@0 --owner=0 --group=0 --numeric-owner -cf tree.tar tree; sha256sum tree.tar
mkdir out; tar -xf tree.tar -C out; diff -r tree out/tree && echo same
gzip -n -9 <tree.tar | gunzip | cmp - tree.tar && echo gzip
grep -c 'line 1' lines; join <(sort lines | head -n 1000) <(sort sorted | head -n 1000) | wc -l
declare -A map; for i in $(seq 1 3000); do map[k$i]=$((i * i)); done; echo ${#map[@]} ${map[k77]}
x=$(printf 'a%.0s' $(seq 1 20000)); echo ${#x} $(echo "$x" | tr a b | md5sum)
