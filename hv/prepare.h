/*
 * Looks at all CPUs and makes them ready for VMX: IA32_FEATURE_CONTROL is set and locked where it is open
 * (SDM 3C 24.7), and what the machine has is gathered for the report.
 */
#ifndef RV_HV_PREPARE_H
#define RV_HV_PREPARE_H

struct hv_state;

/* Boot processor; the other CPUs run and are idle. Fills hv->report. */
void prepare_cpus(struct hv_state *hv);

#endif
