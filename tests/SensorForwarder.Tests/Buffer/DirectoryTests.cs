using System.Runtime.Versioning;

namespace SensorForwarder.Tests.Buffer;

/// <summary>The access rights of the buffer's directory and files.</summary>
[SupportedOSPlatform("linux")]
public sealed class DirectoryTests
{
    const UnixFileMode OwnerOnly = UnixFileMode.UserRead | UnixFileMode.UserWrite | UnixFileMode.UserExecute;

    [Fact]
    public async Task New_directories_are_accessible_by_the_owner_only_and_existing_ones_keep_their_mode()
    {
        using var files = new BufferFixture();
        var there = Path.Combine(files.Directory, "there");
        const UnixFileMode Mode = OwnerOnly | UnixFileMode.GroupRead | UnixFileMode.OtherExecute;
        Directory.CreateDirectory(there, Mode);
        var made = Path.Combine(there, "made", "data");
        await using (await files.OpenAsync(with: options => options with { Directory = made }))
        {
            Assert.Equal(Mode, File.GetUnixFileMode(there));
            Assert.Equal(OwnerOnly, File.GetUnixFileMode(Path.GetDirectoryName(made)!));
            Assert.Equal(OwnerOnly, File.GetUnixFileMode(made));
        }

        await using (await files.OpenAsync(with: options => options with { Directory = there }))
            Assert.Equal(Mode, File.GetUnixFileMode(there));
    }
}
