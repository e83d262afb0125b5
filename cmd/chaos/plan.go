package main

import (
	"cmp"
	"fmt"
	"math/rand/v2"
	"slices"
	"strconv"
	"strings"
	"time"
)

// Kind is what a fault does.
type Kind string

// The kinds of faults. The first four are done to processes, the others to the connections
// of one client, or of all, to one service.
const (
	Kill      Kind = "kill"      // SIGKILL; started again at the end
	Freeze    Kind = "freeze"    // SIGSTOP; SIGCONT at the end
	Terminate Kind = "terminate" // an orderly end; started again at the end
	Join      Kind = "join"      // one more of its role, which leaves in order at the end
	Cut       Kind = "cut"       // connections are reset, and refused until the end
	BlackHole Kind = "blackhole" // nothing passes, either way, before the end: then it comes late
	Mute      Kind = "mute"      // requests take effect, their answers never arrive; connections are reset at the end
	Delay     Kind = "delay"     // each piece of data is late
	HalfClose Kind = "halfclose" // the service sees the end of what the client sends
	Late      Kind = "late"      // as BlackHole, but halfway clients are reset, and go on: what they had sent still arrives
)

// abandoned is the second half of Late.
const abandoned Kind = "abandoned"

// kinds are all of them.
func kinds() []Kind {
	return []Kind{Kill, Freeze, Terminate, Join, Cut, BlackHole, Mute, Delay, HalfClose, Late}
}

// Names of services, and of the client that stands for all of them.
const (
	kafka      = "kafka"
	clickHouse = "clickhouse"
	everyone   = "everyone"
)

// extra is the name of the process of a role that joins for a while.
func extra(role string) string { return role + "-x" }

func named(role string, i int) string { return role + "-" + strconv.Itoa(i) }

// Fault is one thing that is done, and undone after a while.
type Fault struct {
	At      time.Duration // from the start of the plan
	For     time.Duration
	Kind    Kind
	Target  string        // a process; of faults of connections, the client
	Service string        // of faults of connections: kafka or clickhouse
	Latency time.Duration // of Delay, of each piece of data
}

// String is the fault in one line.
func (f Fault) String() string {
	var b strings.Builder
	fmt.Fprintf(&b, "+%5.1fs %-9s %s", f.At.Seconds(), f.Kind, f.key())
	if f.Kind == Delay {
		fmt.Fprintf(&b, " by %s", f.Latency)
	}
	if f.Kind != HalfClose {
		fmt.Fprintf(&b, " for %.1fs", f.For.Seconds())
	}
	return b.String()
}

// key names what a fault is done to.
func (f Fault) key() string {
	if f.Service == "" {
		return f.Target
	}
	return f.Target + ">" + f.Service
}

// target is the key, but one for all brokers: no two of them are away at the same time.
// Two faults of one target never overlap.
func (f Fault) target() string {
	if f.Service == "" && strings.HasPrefix(f.Target, kafka) {
		return kafka
	}
	return f.key()
}

// Topology is what a plan is made for.
type Topology struct {
	Workers, Recorders, Brokers int
	KillBrokers                 bool   // they survive SIGKILL: Apache Kafka does, the embedded one does not
	Only                        []Kind // if any, no other kinds of faults are done
}

// spared tells whether a process is neither killed nor terminated, unless it is the only one
// of its role: a leak would begin anew with each start.
func (t Topology) spared(name string) bool {
	return t.Workers > 1 && name == named("worker", 0) || t.Recorders > 1 && name == named("recorder", 0)
}

// Plan is a schedule of faults.
type Plan struct {
	Seed   uint64
	Faults []Fault // by At
	Length time.Duration

	Incidents []Incident // after the faults
}

// card is one kind of fault that a plan deals.
type card struct {
	kind        Kind
	targets     []string
	service     string
	least, most time.Duration
	long        time.Duration // if set, every other one lasts from most to long
}

// deck returns each kind of fault of each kind of target, some of them more often.
func (t Topology) deck() []card {
	names := func(role string, n int) []string {
		list := make([]string, n)
		for i := range list {
			list[i] = named(role, i)
		}
		return list
	}
	workers, recorders, brokers := names("worker", t.Workers), names("recorder", t.Recorders), names(kafka, t.Brokers)
	const s, ms = time.Second, time.Millisecond
	var cards []card
	for _, of := range [][]string{workers, recorders} {
		mortal := slices.DeleteFunc(slices.Clone(of), t.spared)
		cards = append(cards,
			// Sessions end after 6 s and transactions after 10 s: longer faults outlast both.
			card{Kill, mortal, "", 100 * ms, 4 * s, 12 * s},
			card{Kill, mortal, "", 100 * ms, 2 * s, 0},
			card{Freeze, of, "", 500 * ms, 5 * s, 20 * s},
			card{Freeze, of, "", 7 * s, 20 * s, 0},
			card{Terminate, mortal, "", 100 * ms, 3 * s, 0},
			card{Join, of[:1], "", 3 * s, 10 * s, 0},
			card{Cut, of, kafka, 100 * ms, 3 * s, 12 * s},
			card{BlackHole, of, kafka, 1 * s, 5 * s, 15 * s},
			card{Mute, of, kafka, 500 * ms, 4 * s, 12 * s},
			card{Delay, of, kafka, 2 * s, 8 * s, 0},
			card{HalfClose, of, kafka, 0, 0, 0},
			card{Late, of, kafka, 500 * ms, 6 * s, 16 * s})
	}
	cards = append(cards,
		card{Cut, recorders, clickHouse, 100 * ms, 5 * s, 0},
		card{BlackHole, recorders, clickHouse, 1 * s, 5 * s, 15 * s},
		card{Mute, recorders, clickHouse, 500 * ms, 8 * s, 0},
		card{Delay, recorders, clickHouse, 2 * s, 8 * s, 0},
		card{HalfClose, recorders, clickHouse, 0, 0, 0},
		card{Late, recorders, clickHouse, 500 * ms, 6 * s, 0},
		card{Late, recorders, clickHouse, 500 * ms, 6 * s, 0},
		card{Kill, []string{clickHouse}, "", 100 * ms, 4 * s, 0},
		card{Kill, []string{clickHouse}, "", 100 * ms, 4 * s, 0},
		card{Freeze, []string{clickHouse}, "", 500 * ms, 4 * s, 15 * s},
		card{Terminate, []string{clickHouse}, "", 100 * ms, 3 * s, 0},
		card{Freeze, brokers, "", 500 * ms, 4 * s, 12 * s},
		card{Terminate, brokers, "", 100 * ms, 3 * s, 0},
		card{Cut, []string{everyone}, kafka, 100 * ms, 2 * s, 0},
		card{BlackHole, []string{everyone}, kafka, 500 * ms, 4 * s, 12 * s})
	if t.KillBrokers {
		cards = append(cards, card{Kill, brokers, "", 100 * ms, 5 * s, 0}, card{Kill, brokers, "", 100 * ms, 5 * s, 0})
	}
	if len(t.Only) > 0 {
		cards = slices.DeleteFunc(cards, func(c card) bool { return !slices.Contains(t.Only, c.kind) })
	}
	return cards
}

const (
	meanGap = 3800 * time.Millisecond // between the starts of two faults
	settle  = 3 * time.Second         // between two faults of the same target
)

// NewPlan deals n faults, the same for the same arguments: every kind of fault before any a
// second time. An outage of ClickHouse is one of them, if it is not 0.
func NewPlan(seed uint64, n int, t Topology, outage time.Duration) Plan {
	rnd := rand.New(rand.NewPCG(seed, 0)) //nolint:gosec // repeatable, not secret
	between := func(least, most time.Duration) time.Duration {
		if most <= least {
			return least
		}
		return (least + time.Duration(rnd.Int64N(int64(most-least)))).Truncate(time.Millisecond)
	}
	p := Plan{Seed: seed}
	if n > 0 && outage > 0 && len(t.deck()) > 0 {
		p.Faults = append(p.Faults, Fault{At: between(5*time.Second, 25*time.Second), For: outage, Kind: Kill, Target: clickHouse})
	}
	if len(t.deck()) == 0 { // none of the kinds that are wanted is one of faults
		return p
	}
	var hand []card
	for at := time.Duration(0); len(p.Faults) < n; {
		at += between(meanGap/8, 2*meanGap-meanGap/8)
		if len(hand) == 0 {
			hand = t.deck()
			rnd.Shuffle(len(hand), func(i, j int) { hand[i], hand[j] = hand[j], hand[i] })
		}
		for i, c := range hand {
			f := Fault{At: at, Kind: c.kind, Target: c.targets[rnd.IntN(len(c.targets))], Service: c.service, For: between(c.least, c.most)}
			if c.long > 0 && rnd.IntN(2) == 0 {
				f.For = between(c.most, c.long)
			}
			switch c.kind {
			case Join:
				role, _, _ := strings.Cut(f.Target, "-")
				f.Target = extra(role)
			case Delay:
				f.Latency = between(20*time.Millisecond, 400*time.Millisecond)
			default:
			}
			if p.free(f) {
				p.Faults = append(p.Faults, f)
				hand = append(hand[:i:i], hand[i+1:]...)
				break
			}
		}
	}
	p.sort()
	for _, f := range p.Faults {
		p.Length = max(p.Length, f.At+f.For)
	}
	return p
}

// free tells whether nothing is done to the fault's target around its time.
func (p *Plan) free(f Fault) bool {
	for _, other := range p.Faults {
		if f.target() == other.target() && f.At < other.At+other.For+settle && other.At < f.At+f.For+settle {
			return false
		}
	}
	return true
}

func (p *Plan) sort() {
	slices.SortStableFunc(p.Faults, func(a, b Fault) int { return cmp.Compare(a.At, b.At) })
}

// Kinds counts the faults and incidents by kind.
func (p *Plan) Kinds() map[Kind]int {
	kinds := map[Kind]int{}
	for _, f := range p.Faults {
		kinds[f.Kind]++
	}
	for _, in := range p.Incidents {
		kinds[in.Kind]++
	}
	return kinds
}
