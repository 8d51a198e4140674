# test/abi/inputs/repository.sh — a git repository's life. SPDX-License-Identifier: MIT
set -eu
git init -q -b main repo; cd repo
git config gc.auto 0; git config pack.threads 2
for i in $(seq 1 40); do
  for j in $(seq 1 12); do seq $i $((i * j + 50)) >file$j; done
  git add -A; git commit -q -m "commit $i"
done
git checkout -q -b side HEAD~10; echo side >side; git add side; git commit -q -m side
git checkout -q main; git merge -q -m merged side
git rev-parse HEAD; git log --stat --format='%H %s' | sha256sum
git diff HEAD~20 | sha256sum; git blame file3 | sha256sum; git grep -c 7 | sort
git gc -q --prune=now; git fsck --full --strict 2>&1; git rev-parse HEAD
git log --all --format=%H | git cat-file --batch-check | sha256sum
git archive --format=tar HEAD | sha256sum
git rebase -q --onto HEAD~15 HEAD~12 HEAD~11 2>&1 | wc -l
