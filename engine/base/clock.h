/* SPDX-License-Identifier: Apache-2.0
 * Time in int64 microseconds. Any thread. */
#ifndef BASE_CLOCK_H
#define BASE_CLOCK_H
#include <stdint.h>
int64_t clock_mono(void); /* monotonic, for durations and deadlines */
int64_t clock_wall(void); /* since 1970-01-01 UTC; follows clock_shift */
/* Specs only: moves the wall clock by us (may be negative). Monotonic time is never touched. */
void clock_shift(int64_t us);
/* "2026-11-25T08:00:00.123Z" into out (>= 25 bytes). */
void clock_format(int64_t wall_us, char out[32]);
#endif
