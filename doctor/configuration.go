package doctor

import (
	"fmt"
	"io/fs"
	"strings"
)

func configuration(f *Facts) []Finding {
	var found []Finding
	for _, text := range f.ConfigErrors {
		found = append(found, Finding{
			Level: Problem, Found: text,
			Why: "The proxy does not start with this configuration, and refuses to reload it.",
			Do:  "Correct it; l4proxy check -c FILE reads it again.",
		})
	}
	if f.Config == nil || found != nil {
		return found
	}
	for _, w := range f.Config.Warnings {
		found = append(found, Finding{
			Level: Warning, Found: w.Error(),
			Why: "The setting is valid, but probably not what was intended.", Do: "Change it, and reload.",
		})
	}
	if found != nil {
		return found
	}
	return fine("no problems")
}

func runningProcess(f *Facts) []Finding {
	if f.Status == nil {
		return nil
	}
	var found []Finding
	if f.Status.Version != f.Version {
		found = append(found, Finding{
			Level: Note, Found: fmt.Sprintf("version %s is running; this program is version %s", f.Status.Version, f.Version),
			Why: "The running process keeps the code that it started with.",
			Do:  "l4proxy upgrade replaces it without losing a connection",
		})
	}
	if f.PID == 0 {
		return found
	}
	if exe, err := fs.ReadLink(f.Root, f.process()+"/exe"); err == nil && strings.HasSuffix(exe, " (deleted)") && found == nil {
		found = append(found, Finding{
			Level: Note, Found: fmt.Sprintf("the binary of process %d was replaced or removed after its start", f.PID),
			Why: "The running process keeps the code that it started with.",
			Do:  "l4proxy upgrade replaces it without losing a connection",
		})
	}
	own, err1 := fs.ReadLink(f.Root, "proc/self/ns/net")
	its, err2 := fs.ReadLink(f.Root, f.process()+"/ns/net")
	if err1 == nil && err2 == nil && own != its {
		found = append(found, Finding{
			Level: Warning, Found: fmt.Sprintf("process %d is in another network namespace", f.PID),
			Why: "The network settings below are those of this namespace, not of the proxy's.",
			Do:  fmt.Sprintf("nsenter --net --target %d l4proxy doctor, or run it in the container", f.PID),
		})
	}
	if found != nil || f.PID == 0 {
		return found
	}
	return fine("process %d, version %s", f.PID, f.Status.Version)
}
