package doctor

import (
	"strings"

	"l4proxy/config"
)

// privileges looks at what a proxy gives up after its start.
func privileges(f *Facts) []Finding {
	if f.Config == nil {
		return nil
	}
	var found []Finding
	uid, _, _ := strings.Cut(strings.Join(strings.Fields(f.status("Uid")), " "), " ")
	if f.PID != 0 && uid == "0" && f.Config.User == "" {
		found = append(found, Finding{
			Level: Note, Found: "the proxy runs as root",
			Why: "A flaw in it would be a flaw in the whole machine. It needs root only to start.",
			Do:  "set user: to a user that can read the configuration, and restart; or run it as the unit in packaging/systemd does",
		})
	}
	switch {
	case f.Config.Confine == config.ConfineOff:
		found = append(found, Finding{
			Level: Note, Found: "confine is off",
			Why: "The proxy keeps privileges that it does not need.",
			Do:  "set confine: auto, and restart",
		})
	case f.Landlock == 0:
		found = append(found, Finding{
			Level: Note, Found: "the kernel lacks Landlock",
			Why: "The proxy can write wherever its user can.",
			Do:  "use Linux 5.13 or newer with landlock in the lsm= list of its command line; in a container, allow the landlock system calls; or limit writing with ProtectSystem=strict in systemd",
		})
	}
	if found == nil {
		return fine("only what it needs")
	}
	return found
}
