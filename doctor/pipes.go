package doctor

import (
	"fmt"

	"l4proxy/eventloop"
)

// pagesPerPipe is what a pipe takes: 256 KiB in pages of 4 KiB.
const pagesPerPipe = 64

func pipes(f *Facts) []Finding {
	soft, ok := f.sysctl("fs.pipe-user-pages-soft")
	if !ok || f.capable(capSysResource, capSysAdmin) {
		return nil // no limit
	}
	needs := int64(f.workers()) * eventloop.PipesPerLoop * pagesPerPipe
	hard, _ := f.sysctl("fs.pipe-user-pages-hard") // 0 is none
	switch {
	case hard > 0 && hard < needs:
		return []Finding{{
			Level: Warning, Found: fmt.Sprintf("fs.pipe-user-pages-hard is %d, and the pipes of %d workers take up to %d pages", hard, f.workers(), needs),
			Why: "Beyond it, the proxy copies bulk transfers through buffers, with more CPU time.",
			Do:  setSysctl("fs.pipe-user-pages-hard", 2*needs),
		}}
	case soft > 0 && soft < needs:
		return []Finding{{
			Level: Warning, Found: fmt.Sprintf("fs.pipe-user-pages-soft is %d, and the pipes of %d workers take up to %d pages", soft, f.workers(), needs),
			Why: "Beyond it, a user without privileges gets pipes of two pages, and bulk transfers slow down.",
			Do:  setSysctl("fs.pipe-user-pages-soft", 2*needs) + "; or AmbientCapabilities=CAP_SYS_RESOURCE in the unit",
		}}
	}
	return fine("fs.pipe-user-pages-soft %d, %d needed", soft, needs)
}
