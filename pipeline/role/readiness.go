package role

import "sync"

// Readiness collects whether each part is ready. It is safe for concurrent use.
type Readiness struct {
	mu    sync.Mutex
	parts map[string]string // part: why it is not ready, "" if it is
	notes map[string]string // part: what an operator is to know of it though it is ready
}

// NewReadiness returns one of which no part is known.
func NewReadiness() *Readiness {
	return &Readiness{parts: map[string]string{}, notes: map[string]string{}}
}

// Set tells that a part is ready, or why not.
func (r *Readiness) Set(part, reason string) {
	r.mu.Lock()
	defer r.mu.Unlock()
	r.parts[part] = reason
}

// Note tells what an operator is to know of a part though it is ready; "" takes that back.
func (r *Readiness) Note(part, text string) {
	r.mu.Lock()
	defer r.mu.Unlock()
	r.notes[part] = text
}

// Snapshot returns whether all parts are ready, and of each what there is to say.
func (r *Readiness) Snapshot() (ready bool, parts map[string]string) {
	r.mu.Lock()
	defer r.mu.Unlock()
	ready, parts = len(r.parts) > 0, map[string]string{} // before Run has begun, nothing is
	for part, note := range r.notes {
		if note != "" {
			parts[part] = "ready; " + note
		}
	}
	for part, reason := range r.parts {
		if r.notes[part] == "" {
			parts[part] = "ready"
		}
		if reason != "" {
			ready, parts[part] = false, reason
		}
	}
	return ready, parts
}
