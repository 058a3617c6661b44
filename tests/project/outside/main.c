/// A host application outside the project: built against the installed hsd only.
#include <hsd/hsd.h>
#include <stdio.h>

int main(void)
{
    hsd_error err = {0};
    hsd_engine *engine = NULL;
    hsd_session *session = NULL;
    hsd_engine_options options;
    hsd_session_options session_options;
    hsd_token token;
    int n = 0;

    hsd_engine_options_init(&options); /* no path: the shipped pair of the installed tree */
    hsd_status status = hsd_engine_open(&options, &engine, &err);
    if (status == HSD_OK) {
        hsd_session_options_init(&session_options);
        session_options.n_tokens = 8;
        status = hsd_session_open(engine, &session_options, &session, &err);
    }
    if (status == HSD_OK) {
        status = hsd_session_submit(session, "Once upon a time", 16, &err);
    }
    while (status == HSD_OK) {
        status = hsd_session_next(session, -1, &token, &err);
        n += status == HSD_OK;
    }
    hsd_session_close(&session);
    hsd_engine_close(&engine);
    if (status != HSD_EEND) {
        fprintf(stderr, "%s: %s (%s)\n", err.where, err.message, hsd_status_name(status));
        return 1;
    }
    printf("hsd %s: %d tokens\n", hsd_version(), n);
    return n == 8 ? 0 : 1;
}
