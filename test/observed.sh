#!/bin/sh
# test/observed.sh — runs a test's command observed. SPDX-License-Identifier: MIT
#
# usage: observed.sh COMMAND...    the files lie in a directory of their own, which goes afterwards
directory=$(mktemp -d)
HAKMEM_STAT=$directory "$@"
status=$?
rm -r "$directory"
exit $status
