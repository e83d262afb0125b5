// Command bench measures what answering a request costs, against what its parts cost alone.
//
// Broker, load generator, worker, reader, recorder and ClickHouse are processes of their
// own: this binary, started again. The process of Run only watches them, through Kafka's
// offsets and /proc, so that nothing of it is in what it measures.
//
// # Throughput (closed)
//
// The requests lie in their topic before the worker starts: some for warm-up, and all that
// count in a transaction of the generator's that is still open. When the worker has answered the
// warm-up and is idle, the transaction is committed, and all of them are there at once. Rate
// and CPU time run from that commit to the last result, from rest to rest, so that nothing of
// what counts was done before, such as fetching ahead, and nothing is left. How many are
// answered is read from Kafka: in exactly_once the group's committed offsets, which move with the
// results' transactions; in at_least_once the end of the results topic, which nothing but
// results moves. Afterwards the topics are read with read_committed: every request has one
// result and one observation, or the run fails.
//
// # Parts
//
// The parts of one prediction's CPU time are, each measured in a process that does nothing
// else, with as many goroutines as the worker has lanes, and with its own garbage, collected as
// often as a worker's:
//
//   - pass-through: consume such requests, produce their keys with a stored sample of
//     the whole's results and observations, in a lane's rhythm: poll, produce, flush, end; or, at
//     least once, as many batches on their way as a lane has. No decoding. Its code is fixed
//     here, and is no lane. Its clients are set as the lanes' clients are, by the same code: pools,
//     fetch sizes, compression, linger. So a change of them, or of the percentage that garbage is
//     collected at, changes both sides: efficiencies before and after it are not comparable, and
//     only the whole's CPU time tells what it brought.
//   - decode: codec.Decoder from the record's value to the Arrow batch.
//   - score: the runtime's Predict on such batches, gathering its tensors included.
//   - encode: codec.ResultEncoder into the batch's arena.
//   - observe: observe.Encoder, and the copy of its streams into the arena.
//
// Batches are as large as in the whole on average: those of pass-through as its transactions,
// the others as its inferences. At least once there are no transactions, and a batch of
// pass-through is at least as large as an inference, and at most what a lane polls. What is in no
// part, and so is the cost of the whole: turning kgo's records into schemas.Record and messages
// back, metrics, and waiting badly. Efficiency is the parts' sum divided by the whole's CPU time
// of the worker process.
//
// # Latency (open)
//
// Request i is due at start + i/rate, whatever the pipeline does; its key carries i. A
// read_committed reader takes the time from when the request was due to when its result is
// there, so that a stall counts for every request that was due meanwhile, and a generator
// that is late counts too. Loads are 10, 50 and 80 % of the maximum, which is measured with
// generator and reader running, and with a bound on the requests in flight. Pass-through gets
// the same rates, not the same shares of its own maximum.
//
// # Recorder
//
// The recorder role stores the observations of the run before, three times: with clickhouse.durability
// none, with fsync, so that the cost of it stands beside, and with fsync and a plan of profiles, as where
// a monitor runs: 40 cells for each feature and output. That is what rows_per_s says. Next to it are the same bytes,
// spliced into files of one Arrow stream of at most 100,000 rows, in INSERT … FROM INFILE, into
// the same table with the same materialised view and without fsync, in the same server. The rates run from
// the first moment when ClickHouse has confirmed at least 20 % of the rows to the first one when it has
// confirmed at least 70 %. That leaves out the first inserts, which find the server cold, and a recorder's
// last one, which waits for more.
// One statement follows the other, as somebody would store files by hand; the recorder stores a
// large range by two inserts at a time. So the ratio is no bound: it may exceed 1.
package main
