/// The `hsd` program: finds the subcommand and hands it the rest of the command line.
#include "cli/cli.h"

#include <errno.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

typedef struct command {
    const char *name;
    char *title; ///< argv[0] of the subcommand: what help and usage errors show
    int (*run)(int argc, char **argv);
} command;

static char title_run[] = "hsd run";
static char title_worker[] = "hsd worker";
static char title_info[] = "hsd info";
static char title_bench[] = "hsd bench";
static char title_keygen[] = "hsd keygen";
static char title_devices[] = "hsd devices";
static char title_topo[] = "hsd topo";
static char title_batch[] = "hsd batch";
static char title_export[] = "hsd export";
static char title_profile[] = "hsd profile";
static char title_plan[] = "hsd plan";
static char title_simulate[] = "hsd simulate";
static char title_tune[] = "hsd tune";

static const command commands[] = {
    {"run", title_run, cli_run},
    {"batch", title_batch, cli_batch},
    {"worker", title_worker, cli_worker},
    {"info", title_info, cli_info},
    {"bench", title_bench, cli_bench},
    {"keygen", title_keygen, cli_keygen},
    {"devices", title_devices, cli_devices},
    {"topo", title_topo, cli_topo},
    {"export", title_export, cli_export},
    {"profile", title_profile, cli_profile},
    {"plan", title_plan, cli_plan},
    {"simulate", title_simulate, cli_simulate},
    {"tune", title_tune, cli_tune},
};

static const char doc[] =
    "Make a language model emit its own text sooner: a small draft model guesses ahead while the "
    "target model verifies, and only what the target itself would have said is printed.\n"
    "\n"
    "Commands:\n"
    "  run      continue a prompt\n"
    "  batch    continue every prompt of a file\n"
    "  worker   serve a draft model to other processes\n"
    "  info     say what a model file is\n"
    "  bench    compare the modes side by side\n"
    "  keygen   make keys for workers on other hosts\n"
    "  devices  list what models can run on\n"
    "  topo     say what this machine, or a described one, is made of\n"
    "  export   write a model as a network for an NPU\n"
    "  profile  measure models on every device; draw where the time goes\n"
    "  plan     say what should run where, and why\n"
    "  simulate what a generation would take on a described machine\n"
    "  tune     measure which kernels a device computes products with\n"
    "\n"
    "Options:"
    "\v"
    "Examples:\n"
    "  hsd run --prompt \"Once upon a time\"\n"
    "  hsd run --target big.gguf --draft small.gguf --prompt-file story.txt\n"
    "  hsd batch --in prompts.jsonl --out results.jsonl\n"
    "  hsd info big.gguf\n"
    "  hsd bench --repeats 5\n"
    "\n"
    "`hsd COMMAND --help' explains a command. Models are GGUF files; without --target the small "
    "pair that is shipped with hsd is used.\n"
    "\n" CLI_EXIT_CODES;

static error_t parse(int key, char *arg, struct argp_state *state)
{
    switch (key) {
    case ARGP_KEY_ARG:
        argp_error(state, "there is no command '%s'", arg);
        return 0;
    case ARGP_KEY_NO_ARGS:
        argp_error(state, "a command is missing: run, batch, worker, info, bench, keygen, "
                          "devices, topo, export, profile, plan, simulate or tune");
        return 0;
    default:
        return ARGP_ERR_UNKNOWN;
    }
}

static void print_version(FILE *stream, struct argp_state *state)
{
    (void)state;
    fprintf(stream, "hsd %s\n", hsd_version());
}

/// Help and version texts leave through exit(): do not lose their write errors.
static void check_stdout_at_exit(void)
{
    if (cli_close_stdout() != CLI_OK) {
        _exit(CLI_FAILURE);
    }
}

int main(int argc, char **argv)
{
    static char title[] = "hsd";
    argp_err_exit_status = CLI_USAGE;
    argp_program_version_hook = print_version;
    signal(SIGPIPE, SIG_IGN); // a closed pipe becomes a write error that is reported
    atexit(check_stdout_at_exit);
    for (size_t i = 0; argc > 1 && i < sizeof commands / sizeof commands[0]; i++) {
        if (strcmp(argv[1], commands[i].name) == 0) {
            argv[1] = commands[i].title;
            return commands[i].run(argc - 1, argv + 1);
        }
    }
    if (argc > 0) {
        argv[0] = title;
    }
    const struct argp argp = {.parser = parse, .args_doc = "COMMAND [OPTION...]", .doc = doc};
    argp_parse(&argp, argc, argv, ARGP_IN_ORDER, NULL, NULL);
    return CLI_USAGE;
}
