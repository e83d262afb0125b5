// Package breaks finds sudden changes of a version's errors, scores and features value by value,
// as labels and rows come, with the detectors of package detect that the manifest names in
// monitoring.breaks. A Runner does no I/O and knows no clock; a Watcher feeds it and publishes.
//
// A Runner keeps a stream of values for each detector. Its state is one record: the detectors, and
// for each partition the coordinates of the last item that they have taken. It is saved when
// the breaks of the items that were taken are published; who goes on from it takes no item twice,
// as one at or before its partition's position is left out, and loses none, as the feed reads from
// the position on. What was taken after the last save is taken again, and finds the same breaks,
// whose events have the same ids.
//
// # Where values come from
//
// The recorder stores the labels of a partition of the feedback topic in the order of their
// offsets: a range of offsets is stored before the next one is begun. So the labels beyond a
// position that a query sees are all that are to be seen up to the last of them, and a position by
// offset needs no overlap, which stored_at, of whole seconds, would. (A replica that is behind may
// have a later part before an earlier one: on a cluster the server to ask is the one that the
// recorder stores into, or one that has caught up.) history.Store.LabelledSince
// reads them, joined with the answered rows of the version by request id, in the order
// (topic id, partition, offset). The monitor asks it every second or two and so has a label within
// 5 s of its being produced, where the recorder stores within two; a consumer of its own of the
// feedback topic would be no faster, as the prediction is in ClickHouse alone.
//
// A label may be stored before its request's row. Such a label holds up its partition until the
// row is there, but no longer than the wait that the caller allows after the label was stored;
// then it counts as of an unknown request and is never looked at again. Of the labels of
// a request the first that was stored counts: an online detector cannot take a value back, so
// corrections, which count in windows, are left out here. A label of a request that another version
// answered is passed over.
//
// Rows (score and features) have their request's coordinates as position. The rows of a request
// partition are stored in the order of their offsets where one lane scores it; a dead letter that
// is replayed comes again as a new request. history.Store.RowsSince reads them, as LabelledSince does labels.
package breaks
