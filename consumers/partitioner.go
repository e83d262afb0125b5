package consumers

import "github.com/twmb/franz-go/pkg/kgo"

// partitioner takes the partition that a message names, or else that of the key's hash.
type partitioner struct{ keyed kgo.Partitioner }

func (p partitioner) ForTopic(topic string) kgo.TopicPartitioner {
	return topicPartitioner{p.keyed.ForTopic(topic)}
}

type topicPartitioner struct{ keyed kgo.TopicPartitioner }

func (p topicPartitioner) RequiresConsistency(r *kgo.Record) bool {
	return r.Partition >= 0 || p.keyed.RequiresConsistency(r)
}

func (p topicPartitioner) Partition(r *kgo.Record, n int) int {
	if r.Partition >= 0 {
		return int(r.Partition)
	}
	return p.keyed.Partition(r, n)
}

// OnNewBatch implements kgo.TopicPartitionerOnNewBatch: messages without a key move on.
func (p topicPartitioner) OnNewBatch() {
	if keyed, ok := p.keyed.(kgo.TopicPartitionerOnNewBatch); ok {
		keyed.OnNewBatch()
	}
}
