package consumers

import (
	"github.com/twmb/franz-go/pkg/kgo"

	"github.com/millrace/millrace/schemas"
)

// Connection says how to reach Kafka. Every client of the program is dialled by one, those of
// producers too: what it takes to be let in belongs here and nowhere else.
type Connection struct {
	Brokers  []string
	ClientID string
	// Compression is that of what is produced, but observations; "" is snappy.
	Compression schemas.Compression
}

func (c Connection) options() []kgo.Opt {
	// A broker that ends when it has just accepted a connection is away, and not one that wants
	// SASL or TLS, as kgo would conclude.
	return []kgo.Opt{kgo.SeedBrokers(c.Brokers...), kgo.ClientID(c.ClientID), kgo.AlwaysRetryEOF(), compression(c.Compression)}
}

// Dial returns a client, which connects when it is used first. Close it.
func (c Connection) Dial(opts ...kgo.Opt) (*kgo.Client, error) {
	return kgo.NewClient(append(c.options(), opts...)...)
}

// dialSession is Dial for a group member whose offsets are part of transactions.
func (c Connection) dialSession(opts ...kgo.Opt) (*kgo.GroupTransactSession, error) {
	return kgo.NewGroupTransactSession(append(c.options(), opts...)...)
}
