/// `--trace FILE`: recording from the start, writing when all threads have ended.
#include "cli/cli.h"

int cli_trace_begin(const char *name, const char *file, hsd_trace **out)
{
    hsd_error err = cli_no_error();
    hsd_status status = file ? hsd_trace_create(name, 0, out, &err) : HSD_OK;
    return status == HSD_OK ? CLI_OK : cli_fail(status, &err);
}

int cli_trace_end(hsd_trace **trace, const char *file, int code)
{
    hsd_error err = cli_no_error();
    hsd_status status = *trace ? hsd_trace_write(*trace, file, &err) : HSD_OK;
    hsd_trace_destroy(trace);
    if (status != HSD_OK) {
        int failed = cli_fail(status, &err);
        return code == CLI_OK ? failed : code;
    }
    return code;
}
