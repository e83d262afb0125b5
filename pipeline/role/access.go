package role

import (
	"maps"
	"slices"
	"strings"
	"sync"
	"time"

	"github.com/rs/zerolog"
)

// refusedFor is how long a broker that is not heard of again counts as one that refuses: clients
// that are refused try again within seconds.
const refusedFor = 30 * time.Second

// Access tells readiness and the log of brokers that do not let this process in, and of the end of
// that. It is safe for concurrent use.
type Access struct {
	log   zerolog.Logger
	ready *Readiness

	mu      sync.Mutex
	refused map[string]refusal // by broker
	late    *time.Timer        // forgets those that are not heard of again, though nobody calls Tell
}

type refusal struct {
	why string
	at  time.Time // of the last one
}

// NewAccess returns one that tells of the part kafka.
func NewAccess(ready *Readiness, log zerolog.Logger) *Access {
	return &Access{log: log, ready: ready, refused: map[string]refusal{}}
}

// Tell takes what consumers.Connection tells of a connection to a broker.
func (a *Access) Tell(broker string, err error) {
	a.mu.Lock()
	defer a.mu.Unlock()
	now := time.Now()
	was, known := a.refused[broker]
	switch {
	case err != nil:
		a.refused[broker] = refusal{err.Error(), now}
		if was.why != err.Error() { // once, not at each try
			a.log.Warn().Err(err).Msg("a broker does not let this process in; trying on, with the credentials as they are then")
		}
		if a.late == nil {
			a.late = time.AfterFunc(refusedFor, a.forget)
		}
	case len(a.refused) == 0:
		return
	default:
		delete(a.refused, broker)
		if known {
			a.log.Info().Str("broker", broker).Msg("the broker lets this process in again")
		}
	}
	a.tell()
}

// forget forgets brokers that are not tried again, as those that have left the cluster: connections to
// the others may last, so that nothing else is told any more.
func (a *Access) forget() {
	a.mu.Lock()
	defer a.mu.Unlock()
	now := time.Now()
	maps.DeleteFunc(a.refused, func(_ string, r refusal) bool { return now.Sub(r.at) >= refusedFor })
	if a.late = nil; len(a.refused) > 0 {
		a.late = time.AfterFunc(refusedFor, a.forget)
	}
	a.tell()
}

// tell tells readiness of the brokers that refuse. The caller holds mu.
func (a *Access) tell() {
	var why []string
	for _, broker := range slices.Sorted(maps.Keys(a.refused)) {
		why = append(why, a.refused[broker].why)
	}
	a.ready.Set("kafka", strings.Join(why, "; "))
}
