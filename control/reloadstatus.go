package control

import "time"

// ReloadStatus is what a Reloader has done and does.
type ReloadStatus struct {
	// Config is the name of the configuration file, "" if there is none.
	Config string `json:"config"`
	// Generation counts the configurations that were put into effect, the first being 1; AppliedAt
	// is when that was last done, by a reload, a rollback or the start.
	Generation uint64    `json:"generation"`
	AppliedAt  time.Time `json:"applied_at"`
	// LastOK says that the last reload did not fail; true before the first.
	LastOK      bool       `json:"last_ok"`
	LastSuccess *time.Time `json:"last_success,omitempty"`
	LastFailure *Failure   `json:"last_failure,omitempty"`
	// Reloading says that a reload is under way; Blocked why none is allowed.
	Reloading bool   `json:"reloading"`
	Blocked   string `json:"blocked,omitempty"`
	// Unconfirmed is set if the configuration is rolled back unless it is kept.
	Unconfirmed  *Unconfirmed `json:"unconfirmed,omitempty"`
	LastRollback *Rollback    `json:"last_rollback,omitempty"`
	// Counts are those of the service so far.
	Counts ReloadCounts `json:"counts"`
	// Watching says that a change of Files leads to a reload.
	Watching bool     `json:"watching"`
	Files    []string `json:"files"`
}

// ReloadCounts are how many reloads succeeded and failed, and how many configurations were rolled
// back. A dry run is no reload.
type ReloadCounts struct {
	Succeeded uint64 `json:"succeeded"`
	Failed    uint64 `json:"failed"`
	Rollbacks uint64 `json:"rollbacks"`
}

// Failure is a reload that was refused.
type Failure struct {
	At    time.Time `json:"at"`
	Error string    `json:"error"`
}

// Rollback is a change that was rolled back.
type Rollback struct {
	At time.Time `json:"at"`
	// From is the generation that was rolled back.
	From   uint64 `json:"from"`
	Reason string `json:"reason"`
}

// history is what happened to the configuration so far.
type history struct {
	generation   uint64
	at           time.Time
	failed       bool // the last attempt
	lastSuccess  *time.Time
	lastFailure  *Failure
	lastRollback *Rollback
	counts       ReloadCounts
}

func (h *history) applied(generation uint64, now time.Time) { h.generation, h.at = generation, now }

func (h *history) rolledBack(r Rollback) {
	h.lastRollback = &r
	h.counts.Rollbacks++
}

func (h *history) attempted(err error, now time.Time) {
	h.failed = err != nil
	if h.failed {
		h.lastFailure = &Failure{now, firstLines(err.Error())}
		h.counts.Failed++
	} else {
		h.lastSuccess = &now
		h.counts.Succeeded++
	}
}

// Status reports the state of the configuration.
func (r *Reloader) Status() ReloadStatus {
	r.mu.Lock()
	defer r.mu.Unlock()
	s := ReloadStatus{
		Config:       r.running.cfg.File,
		Generation:   r.running.generation,
		AppliedAt:    r.history.at,
		LastOK:       !r.history.failed,
		LastSuccess:  r.history.lastSuccess,
		LastFailure:  r.history.lastFailure,
		Reloading:    r.busy,
		Blocked:      r.blocked,
		LastRollback: r.history.lastRollback,
		Counts:       r.history.counts,
		Watching:     r.running.cfg.Reload.Watch,
		Files:        []string{},
	}
	if r.trial != nil {
		u := r.trial.Unconfirmed
		s.Unconfirmed = &u
	}
	for _, f := range r.files {
		s.Files = append(s.Files, f.Name)
	}
	return s
}

// SavedReloads is the history of the configuration on its way to another process
// (docs/handover.md): fields are added, never renamed.
type SavedReloads struct {
	Generation   uint64       `json:"generation"`
	Failed       bool         `json:"failed,omitempty"` // the last reload
	LastSuccess  *time.Time   `json:"last_success,omitempty"`
	LastFailure  *Failure     `json:"last_failure,omitempty"`
	LastRollback *Rollback    `json:"last_rollback,omitempty"`
	Counts       ReloadCounts `json:"counts,omitzero"`
}

// Export writes down what has happened to the configuration.
func (r *Reloader) Export() SavedReloads {
	r.mu.Lock()
	defer r.mu.Unlock()
	h := &r.history
	return SavedReloads{h.generation, h.failed, h.lastSuccess, h.lastFailure, h.lastRollback, h.counts}
}

// Import carries on from another process, before Run. The configuration that this process has read
// is the next one.
func (r *Reloader) Import(saved SavedReloads) {
	r.mu.Lock()
	defer r.mu.Unlock()
	r.running.generation = saved.Generation + 1
	r.history = history{
		generation: r.running.generation, at: r.history.at, failed: saved.Failed,
		lastSuccess: saved.LastSuccess, lastFailure: saved.LastFailure, lastRollback: saved.LastRollback, counts: saved.Counts,
	}
}
