/* The whole log codec: format numbers and errors, writer, reader. replay/FORMAT.md is the contract. */
#ifndef RV_REPLAY_LOG_CODEC_H
#define RV_REPLAY_LOG_CODEC_H

#include "replay/log_format.h"
#include "replay/log_pages.h"
#include "replay/log_reader.h"
#include "replay/log_writer.h"

#endif
