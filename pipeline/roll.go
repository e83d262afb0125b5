package pipeline

import (
	"errors"
	"fmt"
	"slices"
	"strings"
	"sync"

	"github.com/millrace/millrace/pipeline/config"
)

// roll knows which roles have not ended, and how those ended that were cut off. It is safe
// for concurrent use.
type roll struct {
	mu      sync.Mutex
	running []config.Role
	cut     bool
	late    []string // how they ended
	failed  []error  // of those that ended by themselves, and left the others alone
}

func newRoll(roles []config.Role) *roll { return &roll{running: slices.Clone(roles)} }

// cutOff notes that what has not ended yet is not waited for any more.
func (r *roll) cutOff() {
	r.mu.Lock()
	defer r.mu.Unlock()
	r.cut = true
}

// ended notes how a role has ended, and returns how many are left. failed says that its error
// is to be told when all have ended.
func (r *roll) ended(role config.Role, err error, failed bool) (left int) {
	r.mu.Lock()
	defer r.mu.Unlock()
	r.running = slices.DeleteFunc(r.running, func(other config.Role) bool { return other == role })
	switch {
	case !r.cut && failed && err != nil:
		r.failed = append(r.failed, err)
	case !r.cut:
	case err != nil:
		r.late = append(r.late, err.Error())
	default: // what it had in hand was finished, and it was leaving its consumer group
		r.late = append(r.late, fmt.Sprintf("%s: it had nothing in hand, but could not take its leave", role))
	}
	return len(r.running)
}

// failures says which roles have failed, and left the others alone.
func (r *roll) failures() error {
	r.mu.Lock()
	defer r.mu.Unlock()
	return errors.Join(r.failed...)
}

// stuck names the roles that have not ended, "" if all have.
func (r *roll) stuck() string {
	r.mu.Lock()
	defer r.mu.Unlock()
	if len(r.running) == 0 {
		return ""
	}
	return fmt.Sprintf("%v: did not end within %s of being cut off", r.running, endGrace)
}

// String says what became of the roles that were cut off.
func (r *roll) String() string {
	stuck := r.stuck()
	r.mu.Lock()
	defer r.mu.Unlock()
	parts := slices.Clone(r.late)
	if stuck != "" {
		parts = append(parts, stuck)
	}
	return strings.Join(parts, "; ")
}
