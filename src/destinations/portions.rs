//! How one batch becomes the requests it needs, for vendors whose limits count what is written, not
//! what it was written from: one message may become several events, each of its own size.
//!
//! What it promises: pieces stay in the order of their messages; the pieces of a message stay in one
//! request where they fit; no request exceeds the room that the vendor gives. What cannot be written
//! is rejected alone and never sent. Once a request was taken, the fault of a later one concerns only
//! the messages that were not sent yet, so that nothing that arrived is sent again without need.

use std::collections::{BTreeSet, VecDeque};

use bytes::Bytes;

use super::{Batch, Fault, Outcome, Receipt};
use crate::message::Message;

/// The most that one request may hold.
#[derive(Debug, Clone, Copy)]
pub(super) struct Room {
    pub pieces: usize,
    /// Of all pieces together, with what separates them.
    pub bytes: usize,
    pub piece_bytes: usize,
}

/// What one request holds: never empty.
#[derive(Debug, Default)]
pub(super) struct Portion {
    pieces: Vec<Piece>,
    bytes: usize,
    step: &'static str,
}

/// One object of a request.
#[derive(Debug)]
struct Piece {
    /// Position of its message in the batch.
    message: usize,
    encoded: Vec<u8>,
}

/// What became of one piece, where it was not simply taken.
#[derive(Debug)]
pub(super) struct Verdict {
    pub piece: usize,
    pub outcome: Outcome,
}

/// The requests of one batch that are still to be sent, and what is known of its messages.
#[derive(Debug)]
pub(super) struct Portions {
    known: Vec<Option<Outcome>>,
    waiting: VecDeque<Portion>,
    begun: bool,
}

impl Verdict {
    pub(super) fn rejected(piece: usize, reason: impl Into<String>) -> Self {
        Self { piece, outcome: Outcome::Rejected { reason: reason.into() } }
    }
}

impl Portion {
    /// Number of pieces.
    pub(super) fn len(&self) -> usize {
        self.pieces.len()
    }

    /// `{"NAME":[…]MORE}`: the pieces as the one array of an object.
    pub(super) fn body(&self, name: &str, more: &str) -> Bytes {
        let mut body = Vec::with_capacity(self.bytes + name.len() + more.len() + 8);
        body.extend_from_slice(b"{\"");
        body.extend_from_slice(name.as_bytes());
        body.extend_from_slice(b"\":");
        self.write(&mut body);
        body.extend_from_slice(more.as_bytes());
        body.push(b'}');
        body.into()
    }

    /// The pieces as an array alone, for requests that are no JSON as a whole.
    pub(super) fn array(&self) -> Vec<u8> {
        let mut array = Vec::with_capacity(self.bytes + 2);
        self.write(&mut array);
        array
    }

    fn write(&self, body: &mut Vec<u8>) {
        body.push(b'[');
        for (position, piece) in self.pieces.iter().enumerate() {
            if position > 0 {
                body.push(b',');
            }
            body.extend_from_slice(&piece.encoded);
        }
        body.push(b']');
    }

    /// The pieces alone, for requests of another shape.
    pub(super) fn pieces(&self) -> impl Iterator<Item = &[u8]> {
        self.pieces.iter().map(|piece| &piece.encoded[..])
    }

    /// What its request is for, where a batch needs requests of several kinds: see
    /// [`Portions::then`].
    pub(super) const fn step(&self) -> &'static str {
        self.step
    }

    /// The position in the batch of every piece's message, in the order of the request.
    pub(super) fn messages(&self) -> impl Iterator<Item = usize> {
        self.pieces.iter().map(|piece| piece.message)
    }

    fn has_room(&self, pieces: usize, bytes: usize, room: Room) -> bool {
        self.pieces.len() + pieces <= room.pieces && self.bytes + bytes <= room.bytes
    }

    fn add(&mut self, message: usize, encoded: Vec<u8>) {
        self.bytes += encoded.len() + 1;
        self.pieces.push(Piece { message, encoded });
    }

    /// Verdicts on pieces that were sent; others mean that the reply is not one to this request.
    fn recognised(&self, verdicts: Vec<Verdict>) -> Result<Vec<Verdict>, Fault> {
        if verdicts.iter().all(|verdict| verdict.piece < self.len()) {
            return Ok(verdicts);
        }
        Err(Fault::Protocol { reason: "the reply names a row that was not sent".into() })
    }
}

impl Portions {
    /// Writes every message as the objects it becomes; a reason instead of them rejects it.
    pub(super) fn of(
        batch: &Batch,
        room: Room,
        write: impl Fn(&Message) -> Result<Vec<Vec<u8>>, String>,
    ) -> Self {
        let mut portions = Self::none(batch);
        portions.then("", batch, room, |_, message| Some(write(message)));
        portions
    }

    /// No request yet.
    pub(super) fn none(batch: &Batch) -> Self {
        Self { known: vec![None; batch.len()], waiting: VecDeque::new(), begun: false }
    }

    /// Goes on with requests of another kind, for the messages of the batch that `write` has something
    /// for.
    pub(super) fn then(
        &mut self,
        step: &'static str,
        batch: &Batch,
        room: Room,
        write: impl Fn(usize, &Message) -> Option<Result<Vec<Vec<u8>>, String>>,
    ) {
        let mut open = Portion { step, ..Portion::default() };
        for (position, message) in batch.messages().iter().enumerate() {
            let Some(written) = write(position, message) else { continue };
            match written.and_then(|pieces| small_enough(pieces, room)) {
                Ok(pieces) if pieces.is_empty() => self.learn(position, Outcome::Delivered),
                Ok(pieces) => self.put(&mut open, position, pieces, room),
                Err(reason) => self.learn(position, Outcome::Rejected { reason }),
            }
        }
        self.close(&mut open);
    }

    /// The next request to be sent.
    pub(super) fn next(&mut self) -> Option<Portion> {
        self.waiting.pop_front()
    }

    /// Writes down what a request came to. A fault comes back where it concerns the whole batch.
    pub(super) fn settle(
        &mut self,
        portion: &Portion,
        answer: Result<Vec<Verdict>, Fault>,
    ) -> Result<(), Fault> {
        match answer.and_then(|verdicts| portion.recognised(verdicts)) {
            Ok(verdicts) => {
                self.learn_all(portion, &Outcome::Delivered);
                for Verdict { piece, outcome } in verdicts {
                    self.learn(portion.pieces[piece].message, outcome);
                }
                self.begun = true;
                Ok(())
            }
            Err(fault) if self.begun => self.interrupted(portion, fault),
            Err(fault) => Err(fault),
        }
    }

    /// Writes down what a reply says of single pieces, because of which the vendor took none: the
    /// others leave again as the next request.
    pub(super) fn repeat_without(
        &mut self,
        portion: Portion,
        verdicts: Vec<Verdict>,
    ) -> Result<(), Fault> {
        let verdicts = portion.recognised(verdicts)?;
        let named: BTreeSet<usize> = verdicts.iter().map(|verdict| verdict.piece).collect();
        if named.is_empty() {
            return Err(Fault::Protocol {
                reason: "the reply names no row that it refuses".into(),
            });
        }
        for Verdict { piece, outcome } in verdicts {
            self.learn(portion.pieces[piece].message, outcome);
        }
        let mut rest = Portion::default();
        for (position, piece) in portion.pieces.into_iter().enumerate() {
            if !named.contains(&position) {
                rest.add(piece.message, piece.encoded);
            }
        }
        if !rest.pieces.is_empty() {
            self.waiting.push_front(rest);
        }
        Ok(())
    }

    /// One outcome per message; what was not sent is to be sent again.
    pub(super) fn into_receipt(self, batch: &Batch) -> Receipt {
        let mut receipt = batch.receipt(&Outcome::Retry {
            after: None,
            reason: "an earlier request of its batch failed".into(),
        });
        for (position, outcome) in self.known.into_iter().enumerate() {
            // Positions are those of this batch.
            let _ = outcome.is_none_or(|outcome| receipt.set(position, outcome));
        }
        receipt
    }

    /// A later request failed: what went before has arrived.
    fn interrupted(&mut self, portion: &Portion, fault: Fault) -> Result<(), Fault> {
        let first = portion.pieces.first().map(|piece| piece.message);
        let alone = portion.messages().all(|message| Some(message) == first);
        let outcome = match fault {
            Fault::Rejected { reason } if alone => Outcome::Rejected { reason },
            Fault::Rejected { reason } => Outcome::Retry { after: None, reason },
            Fault::Throttled { retry_after, reason } => {
                self.waiting.clear();
                Outcome::Retry { after: retry_after, reason }
            }
            Fault::Transient { reason } => {
                self.waiting.clear();
                Outcome::Retry { after: None, reason }
            }
            Fault::Ambiguous { reason } | Fault::Protocol { reason } => {
                self.waiting.clear();
                Outcome::Unsettled { reason }
            }
            other => return Err(other),
        };
        self.learn_all(portion, &outcome);
        Ok(())
    }

    fn put(&mut self, open: &mut Portion, message: usize, pieces: Vec<Vec<u8>>, room: Room) {
        let bytes = pieces.iter().map(|piece| piece.len() + 1).sum();
        if !open.has_room(pieces.len(), bytes, room) {
            self.close(open);
        }
        for piece in pieces {
            if !open.has_room(1, piece.len() + 1, room) {
                self.close(open);
            }
            open.add(message, piece);
        }
    }

    fn close(&mut self, open: &mut Portion) {
        let next = Portion { step: open.step, ..Portion::default() };
        let full = std::mem::replace(open, next);
        if !full.pieces.is_empty() {
            self.waiting.push_back(full);
        }
    }

    fn learn_all(&mut self, portion: &Portion, outcome: &Outcome) {
        for message in portion.messages() {
            self.learn(message, outcome.clone());
        }
    }

    /// The worst of a message's pieces is what became of it.
    fn learn(&mut self, message: usize, outcome: Outcome) {
        let slot = &mut self.known[message];
        *slot = Some(match slot.take() {
            Some(known) => worse(known, outcome),
            None => outcome,
        });
    }
}

fn small_enough(pieces: Vec<Vec<u8>>, room: Room) -> Result<Vec<Vec<u8>>, String> {
    let most = room.piece_bytes.min(room.bytes - 1);
    match pieces.iter().map(Vec::len).find(|size| *size > most) {
        Some(size) => {
            Err(format!("it has {size} bytes as it is sent; the destination takes at most {most}"))
        }
        None => Ok(pieces),
    }
}

fn worse(known: Outcome, outcome: Outcome) -> Outcome {
    match (known, outcome) {
        (Outcome::Rejected { reason }, Outcome::Rejected { reason: more }) if reason != more => {
            Outcome::Rejected { reason: format!("{reason}; {more}") }
        }
        (known, outcome) if rank(&outcome) > rank(&known) => outcome,
        (known, _) => known,
    }
}

const fn rank(outcome: &Outcome) -> u8 {
    match outcome {
        Outcome::Delivered => 0,
        Outcome::Retry { .. } => 1,
        Outcome::Unsettled { .. } => 2,
        Outcome::Rejected { .. } => 3,
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::destinations::fixture::{batch, track};
    use crate::record::Change;

    const ROOM: Room = Room { pieces: 3, bytes: 100, piece_bytes: 50 };

    fn three() -> Batch {
        batch(["u1", "u2", "u3"].map(|subject| track(subject, Change::Entered)))
    }

    /// Two pieces per message.
    fn pairs(room: Room) -> Portions {
        Portions::of(&three(), room, |_| Ok(vec![b"{}".to_vec(), b"[]".to_vec()]))
    }

    fn cut(mut portions: Portions) -> Vec<Vec<usize>> {
        let all = std::iter::from_fn(|| portions.next());
        all.map(|portion| portion.messages().collect()).collect()
    }

    fn reason() -> String {
        "why".into()
    }

    #[test]
    fn pieces_of_a_message_stay_together_where_they_fit() {
        assert_eq!(cut(pairs(ROOM)), [[0, 0], [1, 1], [2, 2]]);
        assert_eq!(cut(pairs(Room { pieces: 4, ..ROOM })), [vec![0, 0, 1, 1], vec![2, 2]]);
        assert_eq!(cut(pairs(Room { bytes: 12, ..ROOM })), [[0, 0], [1, 1], [2, 2]]);
        assert_eq!(cut(pairs(Room { pieces: 1, ..ROOM })), [[0], [0], [1], [1], [2], [2]]);
    }

    #[test]
    fn a_body_holds_the_pieces_in_order() {
        let mut portions = pairs(ROOM);
        let body = portions.next().unwrap().body("batch", ",\"more\":1");
        assert_eq!(body, "{\"batch\":[{},[]],\"more\":1}");
    }

    #[test]
    fn requests_of_several_kinds_follow_each_other_and_hold_only_their_own() {
        let mut portions = Portions::none(&three());
        for (step, own) in [("update", [1, 1, 0]), ("create", [0, 0, 1])] {
            let room = Room { pieces: 1, ..ROOM };
            portions.then(step, &three(), room, |position, _| {
                (own[position] == 1).then(|| Ok(vec![b"{}".to_vec()]))
            });
        }
        let all = std::iter::from_fn(|| portions.next());
        let all: Vec<_> = all.map(|each| (each.step(), each.messages().collect())).collect();
        assert_eq!(all, [("update", vec![0]), ("update", vec![1]), ("create", vec![2])]);
    }

    #[test]
    fn what_cannot_be_written_is_rejected_alone() {
        let batch = three();
        let mut portions = Portions::of(&batch, ROOM, |message| match message.subject() {
            "u1" => Err(reason()),
            "u2" => Ok(vec![vec![b'x'; 51]]),
            _ => Ok(vec![b"{}".to_vec()]),
        });
        let portion = portions.next().unwrap();
        assert_eq!(portion.messages().collect::<Vec<_>>(), [2]);
        portions.settle(&portion, Ok(Vec::new())).unwrap();
        assert!(portions.next().is_none());
        let long = "it has 51 bytes as it is sent; the destination takes at most 50";
        assert_eq!(
            portions.into_receipt(&batch).outcomes(),
            [
                Outcome::Rejected { reason: reason() },
                Outcome::Rejected { reason: long.into() },
                Outcome::Delivered,
            ]
        );
    }

    #[test]
    fn the_worst_piece_decides_and_its_reasons_are_kept() {
        let batch = three();
        let mut portions = pairs(Room { pieces: 6, ..ROOM });
        let portion = portions.next().unwrap();
        let verdicts = vec![Verdict::rejected(2, "a"), Verdict::rejected(3, "b")];
        portions.settle(&portion, Ok(verdicts)).unwrap();
        assert_eq!(
            portions.into_receipt(&batch).outcomes(),
            [Outcome::Delivered, Outcome::Rejected { reason: "a; b".into() }, Outcome::Delivered,]
        );
    }

    #[test]
    fn a_verdict_on_a_row_that_was_not_sent_is_not_believed() {
        let mut portions = pairs(ROOM);
        let portion = portions.next().unwrap();
        let fault = portions.settle(&portion, Ok(vec![Verdict::rejected(2, "a")]));
        assert!(matches!(fault, Err(Fault::Protocol { .. })));
    }

    #[test]
    fn what_was_held_up_by_others_leaves_again_without_them() {
        let batch = three();
        let mut portions = pairs(Room { pieces: 6, ..ROOM });
        let portion = portions.next().unwrap();
        let verdicts = vec![Verdict::rejected(0, "a"), Verdict::rejected(5, "b")];
        portions.repeat_without(portion, verdicts).unwrap();
        let rest = portions.next().unwrap();
        assert_eq!(rest.messages().collect::<Vec<_>>(), [0, 1, 1, 2]);
        assert_eq!(rest.body("rows", ""), "{\"rows\":[[],{},[],{}]}");
        portions.settle(&rest, Ok(Vec::new())).unwrap();
        assert!(portions.next().is_none());
        let rejected = |reason: &str| Outcome::Rejected { reason: reason.into() };
        assert_eq!(
            portions.into_receipt(&batch).outcomes(),
            [rejected("a"), Outcome::Delivered, rejected("b")]
        );
    }

    #[test]
    fn nothing_leaves_again_unless_a_row_that_was_sent_is_named() {
        for verdicts in [Vec::new(), vec![Verdict::rejected(2, "a")]] {
            let mut portions = pairs(ROOM);
            let portion = portions.next().unwrap();
            let fault = portions.repeat_without(portion, verdicts);
            assert!(matches!(fault, Err(Fault::Protocol { .. })));
        }
    }

    #[test]
    fn a_fault_after_the_first_request_concerns_only_what_follows() {
        let retry = |reason: &str| Outcome::Retry { after: None, reason: reason.into() };
        let later = retry("an earlier request of its batch failed");
        for (fault, second, third) in [
            (Fault::Transient { reason: reason() }, retry("why"), later.clone()),
            (Fault::Ambiguous { reason: reason() }, Outcome::Unsettled { reason: reason() }, later),
            (
                Fault::Rejected { reason: reason() },
                Outcome::Rejected { reason: reason() },
                Outcome::Delivered,
            ),
        ] {
            let batch = three();
            let mut portions = pairs(ROOM);
            let mut answers = VecDeque::from([Ok(Vec::new()), Err(fault), Ok(Vec::new())]);
            while let Some(portion) = portions.next() {
                portions.settle(&portion, answers.pop_front().unwrap()).unwrap();
            }
            let outcomes = portions.into_receipt(&batch).into_outcomes();
            assert_eq!(outcomes, [Outcome::Delivered, second, third]);
        }
    }

    #[test]
    fn the_first_fault_and_every_halt_concern_the_whole_batch() {
        let mut portions = pairs(ROOM);
        let portion = portions.next().unwrap();
        let rejected = Err(Fault::Rejected { reason: reason() });
        assert!(matches!(portions.settle(&portion, rejected), Err(Fault::Rejected { .. })));
        portions.settle(&portion, Ok(Vec::new())).unwrap();
        let denied = Err(Fault::Denied { reason: reason() });
        assert!(matches!(portions.settle(&portion, denied), Err(Fault::Denied { .. })));
    }
}
