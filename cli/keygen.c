/// `hsd keygen`: the keys by which hosts know each other.
#include "cli/cli.h"

static const char doc[] =
    "Make a key pair: NAME.key, whose secret half stays on this host (mode 0600), and NAME.pub, "
    "one line for the other side. A worker and each host that uses it need a pair of their own. "
    "Files that are there are not overwritten."
    "\v"
    "Examples:\n"
    "  hsd keygen laptop\n"
    "  hsd keygen /etc/hsd/gpu\n"
    "\n"
    "The worker is told its own NAME.key and the NAME.pub of all its clients, a client its own "
    "NAME.key and the worker's NAME.pub:\n"
    "  hsd worker --listen 'tcp://*:5555' --key gpu.key --clients clients.txt\n"
    "  hsd run --worker tcp://gpu:5555 --worker-key gpu.pub --key laptop.key\n"
    "\n" CLI_EXIT_CODES;

static error_t parse(int key, char *arg, struct argp_state *state)
{
    const char **name = state->input;
    switch (key) {
    case ARGP_KEY_ARG:
        if (*name) {
            argp_error(state, "more than one name: %s", arg);
        }
        *name = arg;
        return 0;
    case ARGP_KEY_END:
        if (!*name) {
            argp_error(state, "a name for the key is missing, for example `hsd keygen laptop'");
        }
        return 0;
    default:
        return ARGP_ERR_UNKNOWN;
    }
}

int cli_keygen(int argc, char **argv)
{
    const struct argp argp = {.parser = parse, .args_doc = "NAME", .doc = doc};
    const char *name = NULL;
    argp_parse(&argp, argc, argv, 0, NULL, &name);
    hsd_error err = cli_no_error();
    hsd_status status = hsd_key_create(name, &err);
    if (status != HSD_OK) {
        return cli_fail(status, &err);
    }
    cli_outf("%s.key  secret: stays on this host\n", name);
    cli_outf("%s.pub  for the other side\n", name);
    return cli_close_stdout();
}
