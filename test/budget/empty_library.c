/* test/budget/empty_library.c — what preloading itself costs. SPDX-License-Identifier: MIT */
/* Loading any library costs pages and faults; the budget is for what ours costs on top. */
int hakmem_budget_empty_library(void);

int hakmem_budget_empty_library(void) {
    return 0;
}
