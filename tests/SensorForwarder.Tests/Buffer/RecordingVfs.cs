using System.Collections.Concurrent;
using System.Runtime.CompilerServices;
using System.Runtime.InteropServices;
using SensorForwarder.Buffer;

namespace SensorForwarder.Tests.Buffer;

/// <summary>
/// A VFS that forwards everything to the default one, after reporting each operation to the <see cref="Recorder"/> of the
/// directory, which may record it or make it fail.
/// Layouts: sqlite3.h, sqlite3_vfs version 2 and sqlite3_io_methods version 2.
/// </summary>
internal static unsafe partial class RecordingVfs
{
    public const string Name = "recorder";

    const int Ok = 0;
    const int CantOpen = 14;
    const int RealFileOffset = 32;

    static readonly ConcurrentDictionary<string, Recorder> Recorders = new();
    static readonly ConcurrentDictionary<int, (Recorder Recorder, string Path)> Files = new();
    static readonly Vfs* Real;
    static readonly IoMethods* Methods;
    static int _nextFile;

    static RecordingVfs()
    {
        Sqlite.CheckVersion();
        Real = sqlite3_vfs_find(0);
        Methods = (IoMethods*)NativeMemory.AllocZeroed((nuint)sizeof(IoMethods));
        *Methods = new IoMethods
        {
            Version = 2,
            Close = &Close,
            Read = &Read,
            Write = &Write,
            Truncate = &Truncate,
            Sync = &Sync,
            FileSize = &FileSize,
            Lock = &Lock,
            Unlock = &Unlock,
            CheckReservedLock = &CheckReservedLock,
            FileControl = &FileControl,
            SectorSize = &SectorSize,
            DeviceCharacteristics = &DeviceCharacteristics,
            ShmMap = &ShmMap,
            ShmLock = &ShmLock,
            ShmBarrier = &ShmBarrier,
            ShmUnmap = &ShmUnmap,
        };
        var vfs = (Vfs*)NativeMemory.AllocZeroed((nuint)sizeof(Vfs));
        *vfs = *Real;
        vfs->Version = 2;
        vfs->FileBytes = Real->FileBytes + RealFileOffset;
        vfs->Next = null;
        vfs->Name = (byte*)Marshal.StringToCoTaskMemUTF8(Name);
        vfs->Open = &Open;
        vfs->Delete = &Delete;
        vfs->Access = &Access;
        vfs->FullPathname = &FullPathname;
        _ = sqlite3_vfs_register(vfs, 0);
    }

    public static void Attach(string directory, Recorder recorder) => Recorders[directory] = recorder;

    public static void Detach(string directory) => Recorders.TryRemove(directory, out _);

    [UnmanagedCallersOnly(CallConvs = [typeof(CallConvCdecl)])]
    static int Open(Vfs* vfs, byte* name, OurFile* file, int flags, int* outFlags)
    {
        var path = Marshal.PtrToStringUTF8((nint)name) ?? "";
        file->Methods = null;
        if (!Recorders.TryGetValue(Path.GetDirectoryName(path) ?? "", out var recorder))
            return CantOpen;
        if (recorder.On(new FileOperation(FileOperationKind.Open, path)) is var fault and not Ok)
            return fault;
        var code = Real->Open(Real, name, RealOf(file), flags, outFlags);
        if (code != Ok)
            return code;
        file->Id = Interlocked.Increment(ref _nextFile);
        Files[file->Id] = (recorder, path);
        file->Methods = Methods;
        return code;
    }

    [UnmanagedCallersOnly(CallConvs = [typeof(CallConvCdecl)])]
    static int Delete(Vfs* vfs, byte* name, int syncDirectory)
    {
        var path = Marshal.PtrToStringUTF8((nint)name) ?? "";
        if (Recorders.TryGetValue(Path.GetDirectoryName(path) ?? "", out var recorder)
            && File.Exists(path)
            && recorder.On(new FileOperation(FileOperationKind.Delete, path)) is var fault and not Ok)
        {
            return fault;
        }
        return Real->Delete(Real, name, syncDirectory);
    }

    [UnmanagedCallersOnly(CallConvs = [typeof(CallConvCdecl)])]
    static int Access(Vfs* vfs, byte* name, int flags, int* result) => Real->Access(Real, name, flags, result);

    [UnmanagedCallersOnly(CallConvs = [typeof(CallConvCdecl)])]
    static int FullPathname(Vfs* vfs, byte* name, int bytes, byte* result) =>
        Real->FullPathname(Real, name, bytes, result);

    [UnmanagedCallersOnly(CallConvs = [typeof(CallConvCdecl)])]
    static int Close(OurFile* file)
    {
        Files.TryRemove(file->Id, out _);
        return RealOf(file)->Methods->Close((OurFile*)RealOf(file));
    }

    [UnmanagedCallersOnly(CallConvs = [typeof(CallConvCdecl)])]
    static int Read(OurFile* file, byte* bytes, int count, long offset)
    {
        var fault = Tell(file, FileOperationKind.Read, offset, default);
        return fault != Ok ? fault : RealOf(file)->Methods->Read((OurFile*)RealOf(file), bytes, count, offset);
    }

    [UnmanagedCallersOnly(CallConvs = [typeof(CallConvCdecl)])]
    static int Write(OurFile* file, byte* bytes, int count, long offset)
    {
        var fault = Tell(file, FileOperationKind.Write, offset, new ReadOnlySpan<byte>(bytes, count));
        return fault != Ok ? fault : RealOf(file)->Methods->Write((OurFile*)RealOf(file), bytes, count, offset);
    }

    [UnmanagedCallersOnly(CallConvs = [typeof(CallConvCdecl)])]
    static int Truncate(OurFile* file, long size)
    {
        var fault = Tell(file, FileOperationKind.Truncate, size, default);
        return fault != Ok ? fault : RealOf(file)->Methods->Truncate((OurFile*)RealOf(file), size);
    }

    [UnmanagedCallersOnly(CallConvs = [typeof(CallConvCdecl)])]
    static int Sync(OurFile* file, int flags)
    {
        var fault = Tell(file, FileOperationKind.Sync, 0, default);
        return fault != Ok ? fault : RealOf(file)->Methods->Sync((OurFile*)RealOf(file), flags);
    }

    [UnmanagedCallersOnly(CallConvs = [typeof(CallConvCdecl)])]
    static int FileSize(OurFile* file, long* size) =>
        RealOf(file)->Methods->FileSize((OurFile*)RealOf(file), size);

    [UnmanagedCallersOnly(CallConvs = [typeof(CallConvCdecl)])]
    static int Lock(OurFile* file, int level) => RealOf(file)->Methods->Lock((OurFile*)RealOf(file), level);

    [UnmanagedCallersOnly(CallConvs = [typeof(CallConvCdecl)])]
    static int Unlock(OurFile* file, int level) => RealOf(file)->Methods->Unlock((OurFile*)RealOf(file), level);

    [UnmanagedCallersOnly(CallConvs = [typeof(CallConvCdecl)])]
    static int CheckReservedLock(OurFile* file, int* result) =>
        RealOf(file)->Methods->CheckReservedLock((OurFile*)RealOf(file), result);

    [UnmanagedCallersOnly(CallConvs = [typeof(CallConvCdecl)])]
    static int FileControl(OurFile* file, int operation, void* argument) =>
        RealOf(file)->Methods->FileControl((OurFile*)RealOf(file), operation, argument);

    [UnmanagedCallersOnly(CallConvs = [typeof(CallConvCdecl)])]
    static int SectorSize(OurFile* file) => RealOf(file)->Methods->SectorSize((OurFile*)RealOf(file));

    [UnmanagedCallersOnly(CallConvs = [typeof(CallConvCdecl)])]
    static int DeviceCharacteristics(OurFile* file) =>
        RealOf(file)->Methods->DeviceCharacteristics((OurFile*)RealOf(file));

    [UnmanagedCallersOnly(CallConvs = [typeof(CallConvCdecl)])]
    static int ShmMap(OurFile* file, int region, int bytes, int extend, void** map) =>
        RealOf(file)->Methods->ShmMap((OurFile*)RealOf(file), region, bytes, extend, map);

    [UnmanagedCallersOnly(CallConvs = [typeof(CallConvCdecl)])]
    static int ShmLock(OurFile* file, int offset, int count, int flags) =>
        RealOf(file)->Methods->ShmLock((OurFile*)RealOf(file), offset, count, flags);

    [UnmanagedCallersOnly(CallConvs = [typeof(CallConvCdecl)])]
    static void ShmBarrier(OurFile* file) => RealOf(file)->Methods->ShmBarrier((OurFile*)RealOf(file));

    [UnmanagedCallersOnly(CallConvs = [typeof(CallConvCdecl)])]
    static int ShmUnmap(OurFile* file, int delete) =>
        RealOf(file)->Methods->ShmUnmap((OurFile*)RealOf(file), delete);

    static OurFile* RealOf(OurFile* file) => (OurFile*)((byte*)file + RealFileOffset);

    static int Tell(OurFile* file, FileOperationKind kind, long offset, ReadOnlySpan<byte> bytes)
    {
        var (recorder, path) = Files[file->Id];
        return recorder.On(new FileOperation(kind, path, offset), bytes);
    }

    [StructLayout(LayoutKind.Sequential)]
    struct OurFile
    {
        public IoMethods* Methods;
        public int Id;
    }

    [StructLayout(LayoutKind.Sequential)]
    struct IoMethods
    {
        public int Version;
        public delegate* unmanaged[Cdecl]<OurFile*, int> Close;
        public delegate* unmanaged[Cdecl]<OurFile*, byte*, int, long, int> Read;
        public delegate* unmanaged[Cdecl]<OurFile*, byte*, int, long, int> Write;
        public delegate* unmanaged[Cdecl]<OurFile*, long, int> Truncate;
        public delegate* unmanaged[Cdecl]<OurFile*, int, int> Sync;
        public delegate* unmanaged[Cdecl]<OurFile*, long*, int> FileSize;
        public delegate* unmanaged[Cdecl]<OurFile*, int, int> Lock;
        public delegate* unmanaged[Cdecl]<OurFile*, int, int> Unlock;
        public delegate* unmanaged[Cdecl]<OurFile*, int*, int> CheckReservedLock;
        public delegate* unmanaged[Cdecl]<OurFile*, int, void*, int> FileControl;
        public delegate* unmanaged[Cdecl]<OurFile*, int> SectorSize;
        public delegate* unmanaged[Cdecl]<OurFile*, int> DeviceCharacteristics;
        public delegate* unmanaged[Cdecl]<OurFile*, int, int, int, void**, int> ShmMap;
        public delegate* unmanaged[Cdecl]<OurFile*, int, int, int, int> ShmLock;
        public delegate* unmanaged[Cdecl]<OurFile*, void> ShmBarrier;
        public delegate* unmanaged[Cdecl]<OurFile*, int, int> ShmUnmap;
    }

    [StructLayout(LayoutKind.Sequential)]
    struct Vfs
    {
        public int Version;
        public int FileBytes;
        public int MaxPathname;
        public Vfs* Next;
        public byte* Name;
        public void* AppData;
        public delegate* unmanaged[Cdecl]<Vfs*, byte*, OurFile*, int, int*, int> Open;
        public delegate* unmanaged[Cdecl]<Vfs*, byte*, int, int> Delete;
        public delegate* unmanaged[Cdecl]<Vfs*, byte*, int, int*, int> Access;
        public delegate* unmanaged[Cdecl]<Vfs*, byte*, int, byte*, int> FullPathname;
        public void* DlOpen;
        public void* DlError;
        public void* DlSym;
        public void* DlClose;
        public void* Randomness;
        public void* Sleep;
        public void* CurrentTime;
        public void* GetLastError;
        public void* CurrentTimeInt64;
    }

#pragma warning disable IDE1006 // The functions have SQLite's names.
    [LibraryImport("e_sqlite3")]
    [UnmanagedCallConv(CallConvs = [typeof(CallConvCdecl)])]
    private static partial Vfs* sqlite3_vfs_find(nint name);

    [LibraryImport("e_sqlite3")]
    [UnmanagedCallConv(CallConvs = [typeof(CallConvCdecl)])]
    private static partial int sqlite3_vfs_register(Vfs* vfs, int makeDefault);
#pragma warning restore IDE1006
}
