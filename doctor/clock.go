package doctor

import (
	"slices"
	"strings"
)

const clockFolder = "sys/devices/system/clocksource/clocksource0/"

// slowClocks are read with a system call, most of them from a slow device.
var slowClocks = []string{"hpet", "acpi_pm", "jiffies", "refined-jiffies", "pit", "xen"}

func clock(f *Facts) []Finding {
	current := f.text(clockFolder + "current_clocksource")
	if current == "" {
		return nil
	}
	if !slices.Contains(slowClocks, current) {
		return fine("%s", current)
	}
	do := "find out why the kernel distrusts the TSC: dmesg | grep -i -e tsc -e clocksource"
	for _, better := range []string{"tsc", "kvm-clock", "arch_sys_counter", "hyperv_clocksource_tsc_page"} {
		if slices.Contains(strings.Fields(f.text(clockFolder+"available_clocksource")), better) {
			do = "echo " + better + " > /" + clockFolder + "current_clocksource, and clocksource=" + better + " on the kernel command line"
			break
		}
	}
	return []Finding{{
		Level: Warning, Found: "the clock source is " + current,
		Why: "Each reading of the clock is a system call of up to a microsecond, and the event loops read it often.", Do: do,
	}}
}
