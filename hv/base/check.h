/*
 * HV_CHECK states what must hold by the hypervisor's own construction. It is never compiled out and
 * never sees a value that a guest or a log supplied: those get error returns.
 */
#ifndef RV_HV_BASE_CHECK_H
#define RV_HV_BASE_CHECK_H

/* Reports the failed expression and stops the machine (or the host test); never returns. */
_Noreturn void hv_check_failed(const char *expression, const char *file, int line);

#define HV_CHECK(e) ((e) ? (void)0 : hv_check_failed(#e, __FILE__, __LINE__))

#endif
