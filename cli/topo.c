/// `hsd topo`: what a machine is made of.
#include "cli/cli.h"

#include <errno.h>
#include <stdio.h>
#include <string.h>

enum { KEY_YAML = 0x200, KEY_SVG, KEY_JSON, KEY_TOPOLOGY, KEY_OUT, KEY_MEASURE };

typedef struct topo_options {
    hsd_machine_format format;
    bool has_format, measure;
    const char *topology, *out;
} topo_options;

static const struct argp_option options[] = {
    {"yaml", KEY_YAML, 0, 0, "as a description file, which --topology reads", 0},
    {"svg", KEY_SVG, 0, 0, "as a picture", 0},
    {"json", KEY_JSON, 0, 0, "as one JSON object", 0},
    {"topology", KEY_TOPOLOGY, "FILE", 0,
     "another machine: a description file, or FILE.xml that hwloc's lstopo has recorded there; "
     "without it this machine",
     0},
    {"out", KEY_OUT, "FILE", 0, "write to a file instead of standard output", 0},
    {"measure", KEY_MEASURE, 0, 0,
     "measure what has not been measured on this machine, some seconds a device, and keep it", 0},
    {0},
};

static const char doc[] =
    "Say what this machine is made of: processors and sets of them, caches, memory, GPUs and other "
    "devices, how fast each reads and computes, what lies between them. With --topology the "
    "same of a machine or a cluster that a file describes; mistakes in it are reported with line "
    "and column."
    "\v"
    "Examples:\n"
    "  hsd topo\n"
    "  hsd topo --measure --yaml --out machine.yaml\n"
    "  hsd topo --topology examples/topology/hosts.yaml --svg --out hosts.svg\n"
    "\n" CLI_EXIT_CODES;

static void take_format(topo_options *o, const struct argp_state *state, hsd_machine_format format)
{
    if (o->has_format) {
        argp_error(state, "one of --yaml, --svg and --json");
    }
    o->has_format = true;
    o->format = format;
}

static error_t parse(int key, char *arg, struct argp_state *state)
{
    topo_options *o = state->input;
    switch (key) {
    case KEY_YAML:
        take_format(o, state, HSD_MACHINE_YAML);
        return 0;
    case KEY_SVG:
        take_format(o, state, HSD_MACHINE_SVG);
        return 0;
    case KEY_JSON:
        take_format(o, state, HSD_MACHINE_JSON);
        return 0;
    case KEY_TOPOLOGY:
        o->topology = arg;
        return 0;
    case KEY_OUT:
        o->out = arg;
        return 0;
    case KEY_MEASURE:
        o->measure = true;
        return 0;
    case ARGP_KEY_ARG:
        argp_error(state, "'%s' is not an option", arg);
        return 0;
    default:
        return ARGP_ERR_UNKNOWN;
    }
}

/// Returns an exit code.
static int write_text(const char *path, const char *text)
{
    if (!path) {
        return cli_out(text, strlen(text)) ? CLI_OK : CLI_FAILURE;
    }
    FILE *file = fopen(path, "w");
    bool good = file && fputs(text, file) >= 0;
    int code = good ? 0 : errno;
    if (file && fclose(file) != 0 && good) {
        code = errno; // a full disk may show only here
        good = false;
    }
    return good ? CLI_OK : cli_failf("%s: cannot be written: %s (EIO)", path, strerror(code));
}

int cli_topo(int argc, char **argv)
{
    const struct argp argp = {.options = options, .parser = parse, .doc = doc};
    topo_options o = {.format = HSD_MACHINE_TREE};
    argp_parse(&argp, argc, argv, 0, NULL, &o);
    hsd_error err = cli_no_error();
    hsd_machine *machine = NULL;
    char *text = NULL;
    hsd_status status = o.topology ? hsd_machine_read(o.topology, &machine, &err)
                                   : hsd_machine_discover(&machine, &err);
    if (status == HSD_OK && o.measure) {
        status = hsd_machine_measure(machine, &err);
    }
    if (status == HSD_OK) {
        status = hsd_machine_print(machine, o.format, &text, &err);
    }
    int code = status == HSD_OK ? write_text(o.out, text) : cli_fail(status, &err);
    hsd_text_free(&text);
    hsd_machine_free(&machine);
    return code;
}
