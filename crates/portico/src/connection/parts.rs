//! Several ranges of a file in one answer: frames around pieces of the file, gathered from memory or streamed.

use super::{
    Connection,
    stream::{Part, Parts},
};
use crate::{
    context::Context,
    entry::{Entry, Extent, File, HEAD_ROOM},
};
use completion_port::Buffer;
use portico_http::{
    byteranges::{Boundary, Frames},
    range::{ByteRange, Ranges},
    request::Request,
    response::{self, Connection as ConnectionField, MAX_END_BYTES},
    status::Status,
};
use std::{
    hash::{BuildHasher as _, RandomState},
    sync::{Arc, LazyLock},
};

impl Connection {
    /// Writes the ranges with their frames, or what is needed to stream them. None if there is no room in this batch.
    pub(super) fn write_parts(
        &mut self,
        request: &Request<'_>,
        entry: &Arc<Entry>,
        ranges: &Ranges,
        close: bool,
        batch: usize,
        context: &mut Context,
    ) -> Option<()> {
        let file = entry.file().expect("the decision was made for a file");
        let boundary = boundary(file, ranges);
        let (content_type, length) = (Some(&*file.content_type), file.length());
        let frames = Frames { boundary: &boundary, content_type, length };
        let around = frames.length_around(ranges);
        let content_bytes = ranges.total_bytes() + around as u64;
        let mut room = [0; HEAD_ROOM + MAX_END_BYTES];
        let extent = Extent::Parts(boundary.media_type(), content_bytes);
        let has_some = request.if_range.is_some();
        let fields = context.site.hosts[self.host].head_fields();
        let head = file.head_for(extent, has_some, &fields, &mut room[..HEAD_ROOM]);
        let field = ConnectionField::for_version(request.version, !close);
        let date = context.dates.at(context.wall);
        let end = response::write_end(&mut room[head..], Some(date), field).expect("it never needs more");
        let cors = if file.cors { context.site.hosts[self.host].cors.clone() } else { None };
        let cors = cors.as_ref().map_or(&[][..], |cors| cors.lines(cors.answer(request)));
        let head = [&room[..head], &file.lines, cors, &room[head..head + end]];

        let buffers = context.port.buffers();
        let needed = head.iter().map(|part| part.len()).sum::<usize>() + around;
        if let Some(bytes) = &file.bytes {
            if !self.output.has_room_for_slices(ranges.as_slice().len()) {
                return None;
            }
            let Some(buffer) = self.output.room(buffers, needed, batch) else {
                return self.wait_for_room(context);
            };
            head.iter().for_each(|part| buffer.extend_from_slice(part));
            for range in ranges.as_slice() {
                let buffer = self.output.room(buffers, 0, 0).expect("it is there");
                put_part_head(&frames, range, buffer);
                self.output.join(bytes.slice(range.first as usize..=range.last as usize));
            }
            put_end(&frames, self.output.room(buffers, 0, 0).expect("it is there"));
            self.log(Some(request), Status::PARTIAL_CONTENT, content_bytes, context);
        } else {
            let Ok(mut buffer) = buffers.acquire(needed) else { return self.wait_for_room(context) };
            head.iter().for_each(|part| buffer.extend_from_slice(part));
            let mut ends = Vec::with_capacity(ranges.as_slice().len());
            for range in ranges.as_slice() {
                put_part_head(&frames, range, &mut buffer);
                ends.push((buffer.len(), range.first..range.last + 1));
            }
            put_end(&frames, &mut buffer);
            let text = buffer.freeze();
            let mut written = 0;
            let parts = ends.into_iter().map(|(end, range)| {
                let lead = text.slice(written..end);
                written = end;
                Part { lead, range }
            });
            let parts = parts.collect();
            let parts = Parts { parts, end: text.slice(written..), frame_bytes: around as u64 };
            let log = self.late_record(Some(request), Status::PARTIAL_CONTENT);
            if !self.begin_parts(entry, parts, log, context) {
                return None;
            }
        }
        self.last_answer |= close;
        self.count_answer(Status::PARTIAL_CONTENT, context);
        Some(())
    }
}

fn put_part_head(frames: &Frames<'_>, range: &ByteRange, buffer: &mut Buffer) {
    let written = frames.write_part_head(range, buffer.spare_mut());
    buffer.advance(written.expect("there is room for all frames, and the type was checked"));
}

fn put_end(frames: &Frames<'_>, buffer: &mut Buffer) {
    let written = frames.write_end(buffer.spare_mut()).expect("there is room for all frames");
    buffer.advance(written);
}

/// The boundary for these ranges of a file. Whoever writes a file cannot put it there, because it follows from a secret of this
/// process; and the same request has the same answer.
fn boundary(file: &File, ranges: &Ranges) -> Boundary {
    static SECRET: LazyLock<RandomState> = LazyLock::new(RandomState::new);
    let half = |number: u8| u128::from(SECRET.hash_one((number, file.etag().as_str(), ranges.as_slice())));
    Boundary::new((half(0) << 64) | half(1))
}
