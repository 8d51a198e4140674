/* src/api/tune.h — prewarm and saved policies at start-up. SPDX-License-Identifier: MIT */
#ifndef HAK_API_TUNE_H
#define HAK_API_TUNE_H

/* Does what the options policy and prewarm say. The first thread, after start-up. */
void hak_tune_at_start(void);

#endif
