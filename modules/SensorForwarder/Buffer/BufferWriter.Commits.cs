using SQLitePCL;

namespace SensorForwarder.Buffer;

/// <summary>The part of the writer that makes transactions of what waits.</summary>
internal sealed partial class BufferWriter
{
    // Waiting for more company gains nothing beyond this: the pages of the transaction are full.
    const int CommitAtBytes = 256 << 10;

    // Commands run with the last piece of what waited before them; this bounds how long newer readings hold them up.
    const int MaxPiecesBeforeCommands = 64;

    // The note as it is in the file.
    string _writtenNote;

    /// <returns>When the next transaction is due; null when nothing waits.</returns>
    TimeSpan? CommitIn()
    {
        if (_requests.IsUrgent(out var waitingSince))
            return TimeSpan.Zero;
        var interval = _limits.CommitInterval;
        TimeSpan? due = waitingSince is { } at ? interval - _timeProvider.GetElapsedTime(at) : null;
        if (_intake.TryPeek(out var startedAt, out var bytes))
        {
            if (bytes >= CommitAtBytes)
                return TimeSpan.Zero;
            due = Earliest(due, interval - _timeProvider.GetElapsedTime(startedAt));
        }
        return due is { } wait && wait < TimeSpan.Zero ? TimeSpan.Zero : due;
    }

    void CommitWaiting()
    {
        var budget = StorageBudget.Of(_limits);
        if (_health.State == StorageState.Full)
            AcknowledgeOnFullVolume(budget);
        for (var piece = 1; ; piece++)
        {
            // taken first, so that it never runs ahead of the acknowledgements
            var note = _requests.Note?.Invoke() ?? _writtenNote;
            var groups = _intake.Take(budget.TransactionBytes);
            var isLast = piece >= MaxPiecesBeforeCommands || !_intake.TryPeek(out _, out _);
            var (acknowledgements, commands) = _requests.Take(withCommands: isLast);
            var documents = _requests.TakeDocuments(); // after the readings: never older than what they say
            try
            {
                var (bytes, readings, keptBytes) = (
                    groups.Sum(g => (long)g.LiveBytes), groups.Sum(g => g.Live), KeptBytes(acknowledgements));
                if (_upkeep.IsReserveInUse(budget) && !Evictor.FitsFreePages(_store!, bytes, readings))
                    throw new SqliteFailure(raw.SQLITE_FULL, raw.SQLITE_FULL, "what room is left is for deletions");
                if (!MakeRoom(budget, bytes, readings, keptBytes))
                    Reject(groups);
                var keeps = IsRetaining && !Evictor.IsOver(_store!, budget, bytes + keptBytes, readings);
                if (keeps && keptBytes > budget.TransactionBytes)
                    KeepInPieces(budget, acknowledgements);
                CommitPiece(groups, acknowledgements, keeps, documents, commands, note);
            }
            catch
            {
                _intake.Return(groups);
                _requests.Return(acknowledgements, commands);
                _requests.Return(documents);
                throw;
            }
            _upkeep.AfterCommit(_store!, budget);
            if (isLast)
                return;
        }
    }

    void CommitPiece(
        List<IntakeGroup> groups, List<Acknowledgement> acknowledgements, bool keeps,
        Dictionary<string, ReadOnlyMemory<byte>> documents,
        List<WriterCommand> commands, string note)
    {
        var store = _store!;
        var firstId = 0L;
        var bytes = 0L;
        var began = _timeProvider.GetTimestamp();
        var evicted = Transact(store =>
        {
            store.SaveClocks(_clock.Segments);
            firstId = store.Marks.LastId + 1;
            foreach (var group in groups)
                bytes += Append(store, group);
            if (Acknowledge(store, acknowledgements, keeps) && _ledger.HasUnannounced)
                EvictionLedger.Announce(store, Epoch, _timeProvider.GetUtcNow(), _clock.Current().Id);
            foreach (var (name, document) in documents)
                store.SaveDocument(name, document.Span);
            foreach (var command in commands)
                command.Run(store);
            if (note != _writtenNote)
                store.SetMeta(QueueStore.NoteName, note);
            return _ledger.WriteNoted(store) || _ledger.HasUnannounced || store.HasEvicted;
        });
        _writtenNote = note;
        CommitTook?.Invoke(_timeProvider.GetElapsedTime(began));
        _ledger.NotedWritten();
        if (evicted)
            _ledger.Reload(store);
        Complete(store, groups, firstId, bytes);
        acknowledgements.ForEach(a => a.Completion.TrySetResult());
        commands.ForEach(c => c.Complete());
    }

    static long Append(QueueStore store, IntakeGroup group)
    {
        var bytes = 0L;
        for (var i = group.GivenUp; i < group.Count; i++)
        {
            var payload = group.Payload(i, out var recordedAtMs, out var clock);
            store.Append(recordedAtMs, clock, payload);
            bytes += payload.Length;
        }
        return bytes;
    }

    static bool Acknowledge(QueueStore store, List<Acknowledgement> acknowledgements, bool keeps)
    {
        if (acknowledgements.Count == 0)
            return false;
        foreach (var range in acknowledgements)
            store.Acknowledge(range.FirstId, range.LastId, keeps);
        store.RefreshFirst();
        return true;
    }

    void Complete(QueueStore store, List<IntakeGroup> groups, long firstId, long bytes)
    {
        var readings = groups.Sum(g => g.Live);
        var before = Snapshot;
        Snapshot = before with
        {
            Marks = store.Marks,
            Commits = before.Commits + 1,
            Readings = before.Readings + readings,
            Bytes = before.Bytes + bytes,
        };
        _intake.Done(groups);
        foreach (var group in groups)
        {
            group.Commit(firstId);
            firstId += group.Live;
        }
        if (readings > 0)
            Committed?.Invoke();
    }

    // After a failure: whether the volume can be written again, also when nothing waits to be written.
    void Probe()
    {
        Transact(static store =>
        {
            store.SetMeta("probe", store.Marks.LastId);
            return true;
        });
        _upkeep.AfterCommit(_store!, StorageBudget.Of(_limits));
    }

    // isProof: whether success means that the volume takes readings again.
    T Transact<T>(Func<QueueStore, T> change, bool isProof = true)
    {
        var store = _store!;
        store.Begin();
        try
        {
            var result = change(store);
            store.Commit();
            if (isProof && _health.Succeeded())
                Log.StorageIsBack(_logger);
            return result;
        }
        catch
        {
            store.Rollback();
            throw;
        }
    }
}
