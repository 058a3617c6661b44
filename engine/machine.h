/// What a hsd_machine holds.
#ifndef HSDI_ENGINE_MACHINE_H
#define HSDI_ENGINE_MACHINE_H

#include <hsd/machine.h>
#include <topology/machine.h>

struct hsd_machine {
    hsdi_machine m;
};

#endif
