/// The library in one small program: open an engine, open two sessions, receive the text of one by
/// callback and of the other by pull, read the statistics, close everything.
///
///     generate [PROMPT [TARGET.gguf [DRAFT.gguf]]]
#include <hsd/hsd.h>
#include <stdio.h>
#include <string.h>

static int fail(hsd_status status, const hsd_error *err)
{
    fprintf(stderr, "generate: %s: %s (%s)\n", err->where, err->message, hsd_status_name(status));
    return 1;
}

/// Runs on the session's own thread, once per token, in order. Returning false would stop the
/// generation. `token` is only valid during the call.
static bool print_token(void *user, const hsd_token *token)
{
    int *n_bytes = user;
    fwrite(token->text, 1, token->n_bytes, stdout);
    fflush(stdout);
    *n_bytes += (int)token->n_bytes;
    return true;
}

/// Push: the session calls back while this thread waits.
static int by_callback(hsd_engine *engine, const char *prompt)
{
    hsd_error err = {0};
    hsd_session *session = NULL;
    hsd_session_options options;
    int n_bytes = 0;
    hsd_session_options_init(&options);
    options.mode = HSD_MODE_MIRROR; // draft and verify at the same time
    options.n_tokens = 60;
    options.on_token = print_token;
    options.on_token_user = &n_bytes;

    hsd_status status = hsd_session_open(engine, &options, &session, &err);
    if (status == HSD_OK) {
        status = hsd_session_submit(session, prompt, strlen(prompt), &err);
    }
    if (status == HSD_OK) {
        status = hsd_session_wait(session, &err);
    }
    if (status == HSD_OK) {
        hsd_stats stats;
        hsd_session_stats(session, &stats);
        printf("\n[%s: %d tokens, %d bytes, %lld target passes, %.0f tokens/s]\n\n",
               hsd_mode_name(stats.mode), stats.n_tokens, n_bytes, (long long)stats.steps,
               stats.tokens_per_s);
    }
    hsd_session_close(&session); // NULL is allowed
    return status == HSD_OK ? 0 : fail(status, &err);
}

/// Pull: this thread asks for one token after the other, and stops at the end of a sentence.
static int by_pull(hsd_engine *engine, const char *prompt)
{
    hsd_error err = {0};
    hsd_session *session = NULL;
    hsd_session_options options;
    hsd_session_options_init(&options);
    options.mode = HSD_MODE_MIRROR;
    options.sampling.temperature = 0.8F;
    options.sampling.top_p = 0.95F;
    options.sampling.seed = 7; // the same seed gives the same text, in every mode

    hsd_status status = hsd_session_open(engine, &options, &session, &err);
    if (status == HSD_OK) {
        status = hsd_session_submit(session, prompt, strlen(prompt), &err);
    }
    while (status == HSD_OK) {
        hsd_token token;
        status = hsd_session_next(session, -1, &token, &err); // waits as long as it takes
        if (status == HSD_OK) {
            fwrite(token.text, 1, token.n_bytes, stdout);
            if (strchr(token.text, '.')) {
                hsd_session_cancel(session); // the next call returns HSD_ECANCELED
            }
        }
    }
    printf("\n[ended with %s]\n", hsd_status_name(status));
    hsd_session_close(&session);
    return status == HSD_EEND || status == HSD_ECANCELED ? 0 : fail(status, &err);
}

int main(int argc, char **argv)
{
    const char *prompt = argc > 1 ? argv[1] : "Once upon a time";
    hsd_error err = {0};
    hsd_engine *engine = NULL;
    hsd_engine_options options;
    hsd_engine_options_init(&options);
    options.target_path = argc > 2 ? argv[2] : NULL; // NULL: the shipped pair
    options.draft_path = argc > 3 ? argv[3] : NULL;

    hsd_status status = hsd_engine_open(&options, &engine, &err);
    if (status != HSD_OK) {
        return fail(status, &err);
    }
    int code = by_callback(engine, prompt);
    if (code == 0) {
        code = by_pull(engine, prompt);
    }
    hsd_engine_close(&engine);
    return code;
}
