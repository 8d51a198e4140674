/* src/vm/group.h — the memory limit of the process's control group. SPDX-License-Identifier: MIT */
#ifndef HAK_VM_GROUP_H
#define HAK_VM_GROUP_H

#include <stddef.h>

/*
 * Bytes the process's group may use, memory.max or memory.high, whichever is least on the way up;
 * SIZE_MAX: no limit is known. Looked up by the first call, some ten system calls; any thread later.
 * cgroups(7): version 2, and version 1's memory.limit_in_bytes.
 */
size_t hak_vm_group_limit(void);

/* The same for given texts: what /proc/self/cgroup says, and a reader of files. For tests. */
typedef int hak_vm_read_file(const char *path, char *buffer, size_t capacity, size_t *size);
size_t hak_vm_group_limit_of(const char *membership, size_t size, hak_vm_read_file *read);

#endif
