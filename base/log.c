/// Formatting of log lines.
#include "base/log.h"

#include <stdarg.h>
#include <stdio.h>

void hsdi_logf(const hsdi_log *log, hsdi_log_level level, const char *fmt, ...)
{
    if (!log || !log->write) {
        return;
    }
    char text[512];
    va_list args;
    va_start(args, fmt);
    vsnprintf(text, sizeof text, fmt, args);
    va_end(args);
    log->write(log->user, (int)level, text);
}
