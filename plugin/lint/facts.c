/* SPDX-License-Identifier: LGPL-2.1-or-later */
/*
 * The facts that the rules of the lint look at, out of domain XML. As in plugin/domain, an element
 * counts only where libvirt itself looks for it, and no tree is built. What a fact means for the
 * guest's time is not known here: that is in rules.c.
 */
#include <errno.h>
#include <string.h>

#include "domain/xml.h"
#include "lint/attribute.h"
#include "timehandoff/lint.h"

#define LIBOSINFO "http://libosinfo.org/xmlns/libvirt/domain/1.0"
#define QEMU "http://libvirt.org/schemas/domain/qemu/1.0"
#define AGENT_CHANNEL "org.qemu.guest_agent.0"
#define DEEPEST 4

/* Where we are. */
enum place {
    ELSEWHERE = 0,
    AT_TOP,
    AT_DOMAIN,
    AT_METADATA,
    AT_LIBOSINFO,
    AT_OSINFO,
    AT_OS,
    AT_TYPE,
    AT_FEATURES,
    AT_HYPERV,
    AT_RELAXED,
    AT_VPINDEX,
    AT_SYNIC,
    AT_STIMER,
    AT_KVM,
    AT_HIDDEN,
    AT_CPU,
    AT_CPU_FEATURE,
    AT_CLOCK,
    AT_TIMER,
    AT_PM,
    AT_SUSPEND_MEM,
    AT_SUSPEND_DISK,
    AT_DEVICES,
    AT_CHANNEL,
    AT_SOURCE,
    AT_TARGET,
    AT_COMMANDLINE,
    AT_ARG,
};

static const struct th_xml_step steps[] = {
    {AT_TOP, NULL, "domain", AT_DOMAIN},
    {AT_DOMAIN, NULL, "metadata", AT_METADATA},
    {AT_METADATA, LIBOSINFO, "libosinfo", AT_LIBOSINFO},
    {AT_LIBOSINFO, LIBOSINFO, "os", AT_OSINFO},
    {AT_DOMAIN, NULL, "os", AT_OS},
    {AT_OS, NULL, "type", AT_TYPE},
    {AT_DOMAIN, NULL, "features", AT_FEATURES},
    {AT_FEATURES, NULL, "hyperv", AT_HYPERV},
    {AT_HYPERV, NULL, "relaxed", AT_RELAXED},
    {AT_HYPERV, NULL, "vpindex", AT_VPINDEX},
    {AT_HYPERV, NULL, "synic", AT_SYNIC},
    {AT_HYPERV, NULL, "stimer", AT_STIMER},
    {AT_FEATURES, NULL, "kvm", AT_KVM},
    {AT_KVM, NULL, "hidden", AT_HIDDEN},
    {AT_DOMAIN, NULL, "cpu", AT_CPU},
    {AT_CPU, NULL, "feature", AT_CPU_FEATURE},
    {AT_DOMAIN, NULL, "clock", AT_CLOCK},
    {AT_CLOCK, NULL, "timer", AT_TIMER},
    {AT_DOMAIN, NULL, "pm", AT_PM},
    {AT_PM, NULL, "suspend-to-mem", AT_SUSPEND_MEM},
    {AT_PM, NULL, "suspend-to-disk", AT_SUSPEND_DISK},
    {AT_DOMAIN, NULL, "devices", AT_DEVICES},
    {AT_DEVICES, NULL, "channel", AT_CHANNEL},
    {AT_CHANNEL, NULL, "source", AT_SOURCE},
    {AT_CHANNEL, NULL, "target", AT_TARGET},
    {AT_DOMAIN, QEMU, "commandline", AT_COMMANDLINE},
    {AT_COMMANDLINE, QEMU, "arg", AT_ARG},
};

/* One channel while it is being read. */
struct channel {
    char type[TH_GUEST_WORD_SIZE];
    char mode[TH_GUEST_WORD_SIZE];
    char target[TH_GUEST_WORD_SIZE];
    char state[TH_GUEST_WORD_SIZE];
    char name[64];
};

struct reader {
    enum place places[DEEPEST + 1]; /* by depth; [0] is above the root */
    struct th_guest_facts facts;
    struct channel channel;
    bool is_qemu;
};

static bool is(const struct th_xml_attributes *attributes, const char *name, const char *value) {
    return th_xml_attribute_is(attributes, name, value);
}

/* ---- elements ---- */

static void read_arch(struct th_guest_facts *facts, const char *arch) {
    if (strcmp(arch, "x86_64") == 0 || strcmp(arch, "i686") == 0) {
        facts->arch = TH_GUEST_ARCH_X86;
    } else if (strcmp(arch, "aarch64") == 0) {
        facts->arch = TH_GUEST_ARCH_ARM64;
    }
}

/* "pc-q35-7.2", "pc-i440fx-9.1", "virt-10.0". Distributions have versions of their own
 * ("pc-q35-rhel9.4.0", "pc-i440fx-jammy"), which say nothing about QEMU's. */
static void read_machine(struct th_guest_facts *facts, const char *machine) {
    static const char *const families[] = {"pc-q35-", "pc-i440fx-", "virt-"};

    for (size_t i = 0; i < TH_ELEMENTS(families); i++) {
        size_t length = strlen(families[i]);
        unsigned major, minor;
        char rest;

        if (strncmp(machine, families[i], length) == 0 &&
            strspn(machine + length, "0123456789.") == strlen(machine + length) &&
            sscanf(machine + length, "%3u.%3u%c", &major, &minor, &rest) == 2) {
            facts->machine_major = major;
            facts->machine_minor = minor;
        }
    }
}

static void read_type(struct th_guest_facts *facts, const struct th_xml_attributes *attributes) {
    char value[64];

    read_arch(facts, th_attribute_get(attributes, "arch", value, sizeof(value)));
    read_machine(facts, th_attribute_get(attributes, "machine", value, sizeof(value)));
}

/* libosinfo's ids are addresses that begin with the vendor: http://debian.org/debian/12. */
static void read_os(struct th_guest_facts *facts, const struct th_xml_attributes *attributes) {
    static const struct {
        const char *vendor;
        enum th_guest_os os;
    } vendors[] = {
        {"microsoft.com/", TH_GUEST_OS_WINDOWS},
        {"freebsd.org/", TH_GUEST_OS_BSD},
        {"openbsd.org/", TH_GUEST_OS_BSD},
        {"netbsd.org/", TH_GUEST_OS_BSD},
        {"dragonflybsd.org/", TH_GUEST_OS_BSD},
        {"ghostbsd.org/", TH_GUEST_OS_BSD},
        {"debian.org/", TH_GUEST_OS_LINUX},
        {"ubuntu.com/", TH_GUEST_OS_LINUX},
        {"fedoraproject.org/", TH_GUEST_OS_LINUX},
        {"redhat.com/", TH_GUEST_OS_LINUX},
        {"centos.org/", TH_GUEST_OS_LINUX},
        {"almalinux.org/", TH_GUEST_OS_LINUX},
        {"rockylinux.org/", TH_GUEST_OS_LINUX},
        {"oracle.com/ol/", TH_GUEST_OS_LINUX},
        {"suse.com/", TH_GUEST_OS_LINUX},
        {"opensuse.org/", TH_GUEST_OS_LINUX},
        {"archlinux.org/", TH_GUEST_OS_LINUX},
        {"alpinelinux.org/", TH_GUEST_OS_LINUX},
        {"gentoo.org/", TH_GUEST_OS_LINUX},
        {"guix.gnu.org/", TH_GUEST_OS_LINUX},
        {"nixos.org/", TH_GUEST_OS_LINUX},
        {"voidlinux.org/", TH_GUEST_OS_LINUX},
        {"amazon.com/", TH_GUEST_OS_LINUX},
        {"libosinfo.org/linux", TH_GUEST_OS_LINUX},
        {"libosinfo.org/unknown", TH_GUEST_OS_UNKNOWN},
    };
    static const char scheme[] = "http://";
    char id[128];

    th_attribute_get(attributes, "id", id, sizeof(id));
    if (strncmp(id, scheme, sizeof(scheme) - 1) != 0) {
        return;
    }
    facts->os = TH_GUEST_OS_OTHER;
    for (size_t i = 0; i < TH_ELEMENTS(vendors); i++) {
        if (strncmp(id + sizeof(scheme) - 1, vendors[i].vendor, strlen(vendors[i].vendor)) == 0) {
            facts->os = vendors[i].os;
        }
    }
}

static void read_timer(struct th_guest_facts *facts, const struct th_xml_attributes *attributes) {
    static const char *const names[TH_GUEST_TIMER_KINDS] = {
        [TH_GUEST_TIMER_RTC] = "rtc",
        [TH_GUEST_TIMER_PIT] = "pit",
        [TH_GUEST_TIMER_HPET] = "hpet",
        [TH_GUEST_TIMER_TSC] = "tsc",
        [TH_GUEST_TIMER_KVMCLOCK] = "kvmclock",
        [TH_GUEST_TIMER_HYPERVCLOCK] = "hypervclock",
        [TH_GUEST_TIMER_ARMVTIMER] = "armvtimer",
        [TH_GUEST_TIMER_PLATFORM] = "platform",
    };
    char value[TH_GUEST_WORD_SIZE];

    th_attribute_get(attributes, "name", value, sizeof(value));
    for (size_t i = 0; i < TH_GUEST_TIMER_KINDS; i++) {
        struct th_guest_timer *timer = &facts->timers[i];

        if (strcmp(value, names[i]) == 0) {
            *timer = (struct th_guest_timer){.listed = true};
            timer->present =
                th_ternary_parse(th_attribute_get(attributes, "present", value, sizeof(value)));
            th_attribute_get(attributes, "tickpolicy", timer->tickpolicy, TH_GUEST_WORD_SIZE);
            th_attribute_get(attributes, "track", timer->track, TH_GUEST_WORD_SIZE);
            th_attribute_get(attributes, "mode", timer->mode, TH_GUEST_WORD_SIZE);
            th_attribute_get(attributes, "frequency", timer->frequency, TH_GUEST_WORD_SIZE);
            return;
        }
    }
}

static void read_clock(struct th_guest_facts *facts, const struct th_xml_attributes *attributes) {
    th_attribute_get(attributes, "offset", facts->clock_offset, TH_GUEST_WORD_SIZE);
    th_attribute_get(attributes, "basis", facts->clock_basis, TH_GUEST_WORD_SIZE);
    th_attribute_get(attributes, "adjustment", facts->clock_adjustment, TH_GUEST_WORD_SIZE);
}

static void read_feature(struct th_guest_facts *facts, const struct th_xml_attributes *attributes) {
    facts->invtsc |= is(attributes, "name", "invtsc") &&
                     (is(attributes, "policy", "require") || is(attributes, "policy", "force"));
}

/* ---- the agent's channel ---- */

static enum th_guest_agent judge(const struct channel *channel, const char **ret_fault) {
    if (strcmp(channel->name, AGENT_CHANNEL) != 0) {
        *ret_fault = channel->name;
        return strcasestr(channel->name, "qemu") && strcasestr(channel->name, "guest")
                   ? TH_GUEST_AGENT_WRONG_NAME
                   : TH_GUEST_AGENT_NONE;
    }
    if (strcmp(channel->type, "unix") != 0 || strcmp(channel->target, "virtio") != 0) {
        *ret_fault = strcmp(channel->type, "unix") != 0 ? channel->type : channel->target;
        return TH_GUEST_AGENT_WRONG_TYPE;
    }
    *ret_fault = channel->mode;
    return strcmp(channel->mode, "connect") == 0 ? TH_GUEST_AGENT_WRONG_MODE : TH_GUEST_AGENT_GOOD;
}

static enum th_ternary connected(const char *state) {
    return strcmp(state, "connected") == 0      ? TH_YES
           : strcmp(state, "disconnected") == 0 ? TH_NO
                                                : TH_UNKNOWN;
}

/* Of several the best: a second channel does no harm. */
static void leave_channel(struct reader *reader) {
    const char *fault = "";
    enum th_guest_agent agent = judge(&reader->channel, &fault);

    if (agent > reader->facts.agent) {
        reader->facts.agent = agent;
        th_text_clean(fault, reader->facts.agent_found, sizeof(reader->facts.agent_found));
        if (agent == TH_GUEST_AGENT_GOOD) {
            reader->facts.agent_connected = connected(reader->channel.state);
        }
    }
}

/* ---- the document ---- */

static void enter_device(struct channel *channel, enum place place,
                         const struct th_xml_attributes *attributes) {
    if (place == AT_CHANNEL) {
        *channel = (struct channel){.name = ""};
        th_attribute_get(attributes, "type", channel->type, sizeof(channel->type));
    } else if (place == AT_SOURCE) {
        th_attribute_get(attributes, "mode", channel->mode, sizeof(channel->mode));
    } else {
        th_attribute_get(attributes, "type", channel->target, sizeof(channel->target));
        th_attribute_get(attributes, "name", channel->name, sizeof(channel->name));
        th_attribute_get(attributes, "state", channel->state, sizeof(channel->state));
    }
}

static void enter_arg(struct th_guest_facts *facts, const struct th_xml_attributes *attributes) {
    char value[256];

    th_attribute_get(attributes, "value", value, sizeof(value));
    facts->qemu_rtc |= strcmp(value, "-rtc") == 0;
    facts->qemu_vmclock |= strcmp(value, "vmclock") == 0 || strncmp(value, "vmclock,", 8) == 0;
}

static void enter(struct reader *reader, enum place place,
                  const struct th_xml_attributes *attributes) {
    struct th_guest_facts *facts = &reader->facts;
    bool on = is(attributes, "state", "on"), enabled = is(attributes, "enabled", "yes");

    switch (place) {
    case AT_DOMAIN:
        facts->kvm = is(attributes, "type", "kvm");
        reader->is_qemu = facts->kvm || is(attributes, "type", "qemu");
        break;
    case AT_OSINFO: read_os(facts, attributes); break;
    case AT_TYPE: read_type(facts, attributes); break;
    case AT_HYPERV:
        facts->hyperv = true;
        facts->hyperv_passthrough |= is(attributes, "mode", "passthrough");
        break;
    case AT_RELAXED: facts->hyperv_relaxed |= on; break;
    case AT_VPINDEX: facts->hyperv_vpindex |= on; break;
    case AT_SYNIC: facts->hyperv_synic |= on; break;
    case AT_STIMER: facts->hyperv_stimer |= on; break;
    case AT_HIDDEN: facts->kvm_hidden |= on; break;
    case AT_CPU: facts->cpu_not_migratable |= is(attributes, "migratable", "off"); break;
    case AT_CPU_FEATURE: read_feature(facts, attributes); break;
    case AT_CLOCK: read_clock(facts, attributes); break;
    case AT_TIMER: read_timer(facts, attributes); break;
    case AT_SUSPEND_MEM: facts->suspend_to_mem |= enabled; break;
    case AT_SUSPEND_DISK: facts->suspend_to_disk |= enabled; break;
    case AT_CHANNEL:
    case AT_SOURCE:
    case AT_TARGET: enter_device(&reader->channel, place, attributes); break;
    case AT_ARG: enter_arg(facts, attributes); break;
    case ELSEWHERE:
    case AT_TOP:
    case AT_METADATA:
    case AT_LIBOSINFO:
    case AT_OS:
    case AT_FEATURES:
    case AT_KVM:
    case AT_PM:
    case AT_DEVICES:
    case AT_COMMANDLINE: break;
    }
}

static bool on_open(void *userdata, unsigned depth, const char *uri, const char *name,
                    const struct th_xml_attributes *attributes) {
    struct reader *reader = userdata;

    if (depth <= DEEPEST) {
        reader->places[depth] = (enum place)th_xml_step_to(steps, TH_ELEMENTS(steps),
                                                           reader->places[depth - 1], uri, name);
        enter(reader, reader->places[depth], attributes);
    }
    return depth > 1 || reader->places[1] == AT_DOMAIN;
}

static void on_text(void *userdata, const char *bytes, size_t size) {
    (void)userdata;
    (void)bytes;
    (void)size;
}

static void on_close(void *userdata, unsigned depth) {
    struct reader *reader = userdata;

    if (depth <= DEEPEST && reader->places[depth] == AT_CHANNEL) {
        leave_channel(reader);
    }
}

/* Name, policy and complaint, as everything else here reads them. */
static int read_ours(const char *xml, size_t size, struct th_guest_facts *facts, char *ret_error,
                     size_t error_size) {
    struct th_domain domain;
    int r = th_domain_parse(xml, size, &domain, ret_error, error_size);

    if (r < 0) {
        return r;
    }
    th_key_wipe(&domain.origin.key);
    memcpy(facts->name, domain.name, sizeof(facts->name));
    memcpy(facts->complaint, domain.complaint, sizeof(facts->complaint));
    facts->has_policy = domain.has_policy;
    facts->policy = domain.policy;
    return 0;
}

/* Managers that write no libosinfo metadata give enlightenments to Windows only. */
static void guess_os(struct th_guest_facts *facts) {
    if (facts->os == TH_GUEST_OS_UNKNOWN &&
        (facts->hyperv || facts->timers[TH_GUEST_TIMER_HYPERVCLOCK].present == TH_YES)) {
        facts->os = TH_GUEST_OS_WINDOWS;
    }
}

int th_guest_facts_read(const char *xml, size_t size, struct th_guest_facts *ret_facts,
                        char *ret_error, size_t error_size) {
    static const struct th_xml_ops ops = {on_open, on_text, on_close, "domain"};
    struct reader reader = {.places = {AT_TOP}};
    int r = read_ours(xml, size, &reader.facts, ret_error, error_size);

    if (r == 0) {
        r = th_xml_read(xml, size, &ops, &reader, ret_error, error_size);
    }
    if (r < 0) {
        return r;
    }
    if (!reader.is_qemu) {
        snprintf(ret_error, error_size, "the domain's type is neither kvm nor qemu");
        return -EBADMSG;
    }
    guess_os(&reader.facts);
    *ret_facts = reader.facts;
    return 0;
}
