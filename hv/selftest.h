/* What the command line's selftest= does: the parts of start-up and panic that only a machine can show. */
#ifndef RV_HV_SELFTEST_H
#define RV_HV_SELFTEST_H

struct hv_state;

/* Boot processor; the other CPUs run and are idle. Returns for "none" and "cpus"; the others end in a panic.
 */
void selftest_run(struct hv_state *hv);

#endif
