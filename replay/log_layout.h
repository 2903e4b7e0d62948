/* Field offsets of the HEADER and TRAILER payloads, for the codec's own use. FORMAT.md has the tables. */
#ifndef RV_REPLAY_LOG_LAYOUT_H
#define RV_REPLAY_LOG_LAYOUT_H

#define LOG_HEADER_MAJOR        0u  /* u16 */
#define LOG_HEADER_MINOR        2u  /* u16 */
#define LOG_HEADER_SEMANTICS    4u  /* u32 */
#define LOG_HEADER_VCPUS        8u  /* u32 */
#define LOG_HEADER_CPUID_MODEL  12u /* u32 */
#define LOG_HEADER_MEMORY       16u /* u64 */
#define LOG_HEADER_IMAGE_DIGEST 24u /* u64 */
#define LOG_HEADER_PAUSE_LIMIT  32u /* u32 */
#define LOG_HEADER_TIME_STRIDE  36u /* u32 */
#define LOG_HEADER_TIME_QUANTUM 40u /* u32 */
#define LOG_HEADER_COMMAND      44u /* u16, bytes */
#define LOG_HEADER_BUILD        46u /* u16, bytes */
#define LOG_HEADER_TSC_HZ       48u /* u64 */
#define LOG_HEADER_SEED         56u /* u64 */
#define LOG_HEADER_SIZE         64u /* the two texts follow, then ... */
#define LOG_HEADER_TRAITS_SIZE  8u  /* ... from LOG_HEADER_TRAITS_MINOR on, u64 host traits */
#define LOG_HEADER_TRAITS_MINOR 1u
#define LOG_HEADER_BRANCH_SIZE  1u /* from LOG_HEADER_BRANCH_MINOR on, u8 event that positions count */
#define LOG_HEADER_BRANCH_MINOR 2u

#define LOG_TRAILER_OUTCOME        0u  /* u8 */
#define LOG_TRAILER_VCPU           1u  /* u8 */
#define LOG_TRAILER_VCPUS          2u  /* u8 */
#define LOG_TRAILER_REASON         3u  /* u8, bytes */
#define LOG_TRAILER_STATUS         4u  /* u32 */
#define LOG_TRAILER_COMMITS        8u  /* u64 */
#define LOG_TRAILER_MEMORY         16u /* u64 */
#define LOG_TRAILER_CONSOLE_DIGEST 24u /* u64 */
#define LOG_TRAILER_CONSOLE_BYTES  32u /* u64 */
#define LOG_TRAILER_SIZE           40u /* vCPU digests (u64 each) and the reason follow */

#endif
