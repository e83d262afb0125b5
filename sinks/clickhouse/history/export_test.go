package history

import "time"

// Settled has rows counted from another age on.
func (p *Profiler) Settled(age time.Duration) { p.settled = age }
