/// @file hsd.h
/// Everything a host application needs.
#ifndef HSD_HSD_H
#define HSD_HSD_H

#include <hsd/cache.h>
#include <hsd/engine.h>
#include <hsd/machine.h>
#include <hsd/model.h>
#include <hsd/network.h>
#include <hsd/plan.h>
#include <hsd/profile.h>
#include <hsd/simulate.h>
#include <hsd/status.h>
#include <hsd/trace.h>

#endif
