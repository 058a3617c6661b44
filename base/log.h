/// Log lines go to a callback; the library never prints.
#ifndef HSDI_BASE_LOG_H
#define HSDI_BASE_LOG_H

typedef enum hsdi_log_level {
    HSDI_LOG_ERROR = 0,
    HSDI_LOG_WARN = 1,
    HSDI_LOG_INFO = 2,
    HSDI_LOG_DEBUG = 3,
} hsdi_log_level;

/// Where log lines go. `write` may be called from any thread; NULL drops everything.
typedef struct hsdi_log {
    void (*write)(void *user, int level, const char *text);
    void *user;
} hsdi_log;

void hsdi_logf(const hsdi_log *log, hsdi_log_level level, const char *fmt, ...)
    __attribute__((format(printf, 3, 4)));

#endif
