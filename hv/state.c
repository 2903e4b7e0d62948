#include "hv/state.h"

struct hv_state hv_state;
