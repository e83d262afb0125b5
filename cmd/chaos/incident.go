package main

import (
	"cmp"
	"fmt"
	"math/rand/v2"
	"slices"
	"strings"
)

// The kinds of incidents: what operators do, or what befalls a whole service. Unlike faults
// they do not overlap, and each has an end that an operator brings about.
const (
	Forget Kind = "forget" // the offsets of a group are deleted, as Kafka does to those of a group that was away for a week
	Rewind Kind = "rewind" // the recorders' group is set back, by a tool that knows nothing of their commits or by `millrace offsets set`
	Again  Kind = "again"  // a topic is deleted and made again while its readers and writers run
	Clock  Kind = "clock"  // ClickHouse's clock is an hour ahead for a while, and then right
	Parts  Kind = "parts"  // ClickHouse loses its newest parts, as by a power cut
	Rename Kind = "rename" // a group gets another name
	Poison Kind = "poison" // a record batch inflates to more than is taken
)

func incidentKinds() []Kind { return []Kind{Forget, Rewind, Again, Clock, Parts, Rename, Poison} }

// Targets of incidents besides the roles: topics by what they hold.
const (
	worker       = "worker"
	recorder     = "recorder"
	requests     = "requests"
	results      = "results"
	observations = "observations"
	deadLetters  = "deadletters"
)

// Incident is one thing that befalls all processes of a role, or a service.
type Incident struct {
	Kind   Kind
	Target string  // a role, a topic or a service
	How    string  // where there are several ways
	Dice   float64 // 0 to 1, for what the kind leaves open
	Amid   []Fault // of connections, which happen meanwhile
}

// String is the incident in a few words.
func (in Incident) String() string {
	text := strings.TrimSpace(fmt.Sprintf("%s %s %s", in.Kind, in.Target, in.How))
	faults := make([]string, len(in.Amid))
	for i, f := range in.Amid {
		faults[i] = string(f.Kind) + " " + f.key()
	}
	if len(faults) > 0 {
		text += " amid " + strings.Join(faults, ", ")
	}
	return text
}

// Ways in which an incident can go.
const (
	toEarliest = "earliest"
	backwards  = "backwards"
	byCommand  = "by-command"
	skipped    = "skipped"
	stopped    = "stopped"
)

// names are those that select the incident, from its kind to itself alone.
func (in Incident) names() []Kind {
	of := in.Kind + Kind(":"+in.Target)
	return []Kind{in.Kind, of, of + Kind(":"+in.How)}
}

// allIncidents are those that some names select, each once; no names select all.
func allIncidents(only []Kind) []Incident {
	all := []Incident{
		{Kind: Forget, Target: worker},
		{Kind: Forget, Target: recorder},
		{Kind: Rewind, Target: recorder, How: toEarliest},
		{Kind: Rewind, Target: recorder, How: backwards},
		{Kind: Rewind, Target: recorder, How: byCommand},
		{Kind: Again, Target: requests},
		{Kind: Again, Target: results},
		{Kind: Again, Target: observations},
		{Kind: Again, Target: deadLetters},
		{Kind: Clock, Target: clickHouse},
		{Kind: Parts, Target: clickHouse},
		{Kind: Rename, Target: worker},
		{Kind: Rename, Target: recorder},
		{Kind: Poison, Target: requests, How: stopped},
		{Kind: Poison, Target: requests, How: skipped},
		{Kind: Poison, Target: observations, How: stopped},
		{Kind: Poison, Target: observations, How: skipped},
	}
	if len(only) > 0 {
		all = slices.DeleteFunc(all, func(in Incident) bool {
			return !slices.ContainsFunc(in.names(), func(name Kind) bool { return slices.Contains(only, name) })
		})
	}
	return all
}

// faultsAmid is how many faults there are amid an incident.
const faultsAmid = 2

// amid deals faults of single connections: what is done to a process would get into the
// operator's way.
func amid(seed uint64, t Topology) []Fault {
	wanted := []Kind{Cut, BlackHole, Mute, Delay, HalfClose, Late}
	if len(t.Only) > 0 {
		wanted = slices.DeleteFunc(wanted, func(k Kind) bool { return !slices.Contains(t.Only, k) })
	}
	if len(wanted) == 0 {
		return nil
	}
	t.Only = wanted
	return slices.DeleteFunc(NewPlan(seed, faultsAmid, t, 0).Faults, func(f Fault) bool { return f.Target == everyone })
}

// rank orders incidents that would else ask for what nobody can do. Rows that ClickHouse loses
// are stored again from the log, which must still hold them: so before a topic is made again.
// A group that is set back before a record batch that cannot be read comes to it once more, and
// workers cannot find what was answered in observations of which a batch cannot be read: so such
// a batch of observations comes last.
func (in Incident) rank() int {
	switch {
	case in.Kind == Parts:
		return 0
	case in.Kind == Poison && in.Target == observations:
		return 2
	default:
		return 1
	}
}

// EachIncident asks for every incident once.
const EachIncident = -1

// NewIncidents deals n incidents, or each once, the same for the same arguments: none a second
// time before every other was dealt. They are in the order of their ranks.
func NewIncidents(seed uint64, n int, t Topology) []Incident {
	rnd := rand.New(rand.NewPCG(seed, 1)) //nolint:gosec // repeatable, not secret
	if n == EachIncident {
		n = len(allIncidents(t.Only))
	}
	var dealt, hand []Incident
	for len(dealt) < n {
		if len(hand) == 0 {
			hand = allIncidents(t.Only)
			if len(hand) == 0 { // none of the kinds that are wanted is one of incidents
				return nil
			}
			rnd.Shuffle(len(hand), func(i, j int) { hand[i], hand[j] = hand[j], hand[i] })
		}
		in := hand[0]
		in.Dice, in.Amid = rnd.Float64(), amid(rnd.Uint64(), t)
		dealt, hand = append(dealt, in), hand[1:]
	}
	slices.SortStableFunc(dealt, func(a, b Incident) int { return cmp.Compare(a.rank(), b.rank()) })
	return dealt
}
