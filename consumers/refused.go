package consumers

import (
	"context"
	"errors"
	"strings"

	"github.com/twmb/franz-go/pkg/kerr"
	"github.com/twmb/franz-go/pkg/kgo"
)

// refusal is a message that could not be produced, and why.
type refusal struct {
	rec *kgo.Record
	err error
}

// fault is what is wrong with a destination, by why it has refused a message.
type fault int

const (
	// ofSession is none of the destination: of the producer, its transaction, or the way to Kafka.
	ofSession fault = iota
	// noTopic: there is no such topic, or another one bears its name by now.
	noTopic
	// noPartition: the topic has fewer partitions than its requests.
	noPartition
	// forbidden: the client may not write to the topic.
	forbidden
	// tooLarge: the topic takes no batch of that size.
	tooLarge
	// notTaken: the broker refuses the message itself, or cannot store it.
	notTaken
	// unanswered: nothing was heard in time. It is of the destination where others have answered.
	unanswered
	// givenUp: nothing was heard while others have answered; see outbox.look.
	givenUp
)

// ofWholeTopic tells that no partition of the topic takes anything.
func (f fault) ofWholeTopic() bool { return f == noTopic || f == forbidden }

// notTakenErrors are Kafka's errors after which nothing of the partition was stored.
var notTakenErrors = []error{
	kerr.InvalidRecord, kerr.PolicyViolation, kerr.InvalidTimestamp, kerr.CorruptMessage,
	kerr.UnsupportedForMessageFormat, kerr.UnsupportedCompressionType, kerr.InvalidRequiredAcks,
	kerr.KafkaStorageError, kerr.ThrottlingQuotaExceeded, kerr.NotEnoughReplicas, kerr.NotEnoughReplicasAfterAppend,
	kerr.LeaderNotAvailable, kerr.NotLeaderForPartition, kerr.ReplicaNotAvailable, kerr.FencedLeaderEpoch, kerr.UnknownLeaderEpoch,
}

// The client has no values for these errors.
const (
	noSuchPartition = "invalid record partitioning choice"
	partitionGone   = "metadata update is missing a partition"
	noUsable        = "unable to partition record due to no usable partitions"
)

// faultOf says what is wrong with the destination of a message, in a session that does not end.
func faultOf(err error) fault {
	is := func(targets ...error) bool {
		for _, t := range targets {
			if errors.Is(err, t) {
				return true
			}
		}
		return false
	}
	switch text := err.Error(); {
	case is(kerr.TopicAuthorizationFailed):
		return forbidden
	case is(kerr.UnknownTopicOrPartition, kerr.UnknownTopicID, kerr.InvalidTopicException), strings.Contains(text, noUsable):
		return noTopic
	case strings.Contains(text, noSuchPartition), strings.Contains(text, partitionGone):
		return noPartition
	case is(kerr.MessageTooLarge, kerr.RecordListTooLarge):
		return tooLarge
	case is(notTakenErrors...):
		return notTaken
	case is(kgo.ErrRecordTimeout, kgo.ErrRecordRetries, kerr.RequestTimedOut, kerr.UnknownServerError):
		return unanswered
	case is(context.Canceled, kgo.ErrAborting): // perhaps with another batch, which was given up
		return givenUp
	}
	return ofSession
}

// maxSampleBytes bounds what is kept of what a destination has refused, for each partition that
// waits; one message is kept however large.
const maxSampleBytes = 256 << 10

// sample is a copy of messages that one destination has refused, to ask with whether it takes them.
type sample struct {
	records []*kgo.Record
	bytes   int
}

func (s *sample) add(r *kgo.Record, partition int32) {
	n := len(r.Key) + len(r.Value)
	for _, h := range r.Headers {
		n += len(h.Key) + len(h.Value)
	}
	if len(s.records) > 0 && s.bytes+n > maxSampleBytes {
		return
	}
	c := &kgo.Record{Topic: strings.Clone(r.Topic), Partition: partition, Key: copied(r.Key), Value: copied(r.Value)}
	for _, h := range r.Headers {
		c.Headers = append(c.Headers, kgo.RecordHeader{Key: strings.Clone(h.Key), Value: copied(h.Value)})
	}
	s.records, s.bytes = append(s.records, c), s.bytes+n
}

// copied returns a copy; that of no bytes, which stand for NULL, is none either.
func copied(b []byte) []byte {
	if b == nil {
		return nil
	}
	return append([]byte{}, b...)
}
