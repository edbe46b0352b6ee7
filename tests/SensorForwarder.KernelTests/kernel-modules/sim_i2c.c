// SPDX-License-Identifier: GPL-2.0
/*
 * An I2C adapter, number 1, with two BME280 (0x76, 0x77) and two SHT3x (0x44, 0x45). Debugfs files under sim_i2c set
 * the measured values, whether a chip is present, and faults. Data sheets: BST-BME280-DS001, Sensirion SHT3x-DIS.
 */
#include <linux/crc8.h>
#include <linux/debugfs.h>
#include <linux/delay.h>
#include <linux/i2c.h>
#include <linux/ktime.h>
#include <linux/module.h>
#include <linux/mutex.h>

#define BME_ID 0xd0
#define BME_RESET 0xe0
#define BME_STATUS 0xf3
#define BME_CONTROL 0xf4
#define BME_DATA 0xf7
#define BME_MEASURES_NS (8 * NSEC_PER_MSEC)
#define SHT_MEASURES_NS (12 * NSEC_PER_MSEC)

struct chip {
	u16 address;
	bool is_bme;
	bool powered;
	u8 registers[256];
	u8 pointer;
	u16 command;
	u16 status;
	u64 ready_at;
	/* Files in debugfs. */
	u64 present;
	u32 temperature; /* raw, 20 bits (BME280) or 16 bits */
	u32 pressure;    /* raw, 20 bits */
	u32 humidity;    /* raw, 16 bits */
	u32 bad_crc;     /* number of SHT3x responses with a wrong checksum */
};

static struct chip chips[] = {
	{ .address = 0x76, .is_bme = true }, { .address = 0x77, .is_bme = true },
	{ .address = 0x44 }, { .address = 0x45 },
};

static u32 fail_next;               /* number of transfers that fail */
static u32 error_number = EREMOTEIO; /* their errno */
static u32 transfers;
static DEFINE_MUTEX(gate);
static struct dentry *directory;
DECLARE_CRC8_TABLE(crc_table);

/* The example of the data sheet, in register order. */
static const u8 calibration_low[] = {
	0x70, 0x6b, 0x43, 0x67, 0x18, 0xfc,
	0x7d, 0x8e, 0x43, 0xd6, 0xd0, 0x0b, 0x27, 0x0b, 0x8c, 0x00, 0xf9, 0xff, 0x8c, 0x3c, 0xf8, 0xc6, 0x70, 0x17,
	0x00, 0x4b,
};
static const u8 calibration_high[] = { 0x6a, 0x01, 0x00, 0x13, 0x29, 0x03, 0x1e };

static void power_on(struct chip *chip)
{
	memset(chip->registers, 0, sizeof(chip->registers));
	memcpy(chip->registers + 0x88, calibration_low, sizeof(calibration_low));
	memcpy(chip->registers + 0xe1, calibration_high, sizeof(calibration_high));
	chip->registers[BME_ID] = 0x60;
	chip->registers[BME_DATA] = 0x80;     /* nothing measured yet */
	chip->registers[BME_DATA + 3] = 0x80;
	chip->registers[BME_DATA + 6] = 0x80;
	chip->command = 0;
	chip->status = 0x8010; /* alert pending, reset detected */
	chip->powered = true;
}

static void bme_measure(struct chip *chip)
{
	u8 *data = chip->registers + BME_DATA;

	data[0] = chip->pressure >> 12;
	data[1] = chip->pressure >> 4;
	data[2] = chip->pressure << 4;
	data[3] = chip->temperature >> 12;
	data[4] = chip->temperature >> 4;
	data[5] = chip->temperature << 4;
	data[6] = (chip->registers[0xf2] & 7) ? chip->humidity >> 8 : 0x80;
	data[7] = (chip->registers[0xf2] & 7) ? chip->humidity : 0;
}

/* Pairs of register number and value. A number alone sets the pointer for the next read. */
static int bme_write(struct chip *chip, const u8 *bytes, int length)
{
	int i;

	chip->pointer = bytes[0];
	for (i = 0; i + 1 < length; i += 2) {
		u8 reg = bytes[i], value = bytes[i + 1];

		if (reg == BME_RESET && value == 0xb6) {
			power_on(chip);
			continue;
		}
		chip->registers[reg] = value;
		if (reg == BME_CONTROL && ((value & 3) == 1 || (value & 3) == 2)) {
			bme_measure(chip);
			chip->ready_at = ktime_get_ns() + BME_MEASURES_NS;
			chip->registers[BME_CONTROL] = value & ~3; /* forced mode: one measurement, then sleep */
		}
	}
	return 0;
}

static int bme_read(struct chip *chip, u8 *bytes, int length)
{
	int i;

	if ((chip->registers[BME_CONTROL] & 3) == 3) /* normal mode: continuous measurement */
		bme_measure(chip);
	chip->registers[BME_STATUS] = ktime_get_ns() < chip->ready_at ? 0x08 : 0;
	for (i = 0; i < length; i++)
		bytes[i] = chip->registers[chip->pointer++];
	return 0;
}

static int sht_write(struct chip *chip, const u8 *bytes, int length)
{
	if (length < 2)
		return 0;
	chip->command = bytes[0] << 8 | bytes[1];
	if (chip->command == 0x30a2)
		power_on(chip);
	if (chip->command == 0x3041)
		chip->status = 0;
	chip->ready_at = ktime_get_ns() + (bytes[0] == 0x24 ? SHT_MEASURES_NS : 0);
	return 0;
}

static void sht_word(struct chip *chip, u8 *bytes, int length, int at, u16 word)
{
	u8 frame[3] = { word >> 8, word };
	int i;

	frame[2] = crc8(crc_table, frame, 2, 0xff);
	if (at == 0 && chip->bad_crc) {
		chip->bad_crc--;
		frame[2] ^= 0x55;
	}
	for (i = 0; i < 3 && at + i < length; i++)
		bytes[at + i] = frame[i];
}

/* A read is not acknowledged until the measurement has ended. */
static int sht_read(struct chip *chip, u8 *bytes, int length)
{
	bool measured = (chip->command >> 8) == 0x24 || (chip->command >> 8) == 0x2c;

	if (!chip->command || ktime_get_ns() < chip->ready_at)
		return -EREMOTEIO;
	sht_word(chip, bytes, length, 0, measured ? chip->temperature : chip->command == 0xf32d ? chip->status : 0);
	if (measured)
		sht_word(chip, bytes, length, 3, chip->humidity);
	return 0;
}

static struct chip *find(u16 address)
{
	int i;

	for (i = 0; i < ARRAY_SIZE(chips); i++)
		if (chips[i].address == address)
			return &chips[i];
	return NULL;
}

static int transfer_one(struct i2c_msg *message)
{
	struct chip *chip = find(message->addr);

	if (!chip || !chip->present)
		return -EREMOTEIO;
	if (!chip->powered)
		power_on(chip);
	if (message->len == 0)
		return 0;
	if (message->flags & I2C_M_RD)
		return chip->is_bme ? bme_read(chip, message->buf, message->len) : sht_read(chip, message->buf, message->len);
	return chip->is_bme ? bme_write(chip, message->buf, message->len) : sht_write(chip, message->buf, message->len);
}

static int transfer(struct i2c_adapter *adapter, struct i2c_msg *messages, int count)
{
	int i, result = 0;

	mutex_lock(&gate);
	transfers++;
	if (fail_next) {
		fail_next--;
		result = -(int)error_number;
	}
	for (i = 0; i < count && !result; i++)
		result = transfer_one(&messages[i]);
	mutex_unlock(&gate);
	return result ? result : count;
}

static u32 functionality(struct i2c_adapter *adapter)
{
	return I2C_FUNC_I2C | I2C_FUNC_SMBUS_EMUL;
}

static const struct i2c_algorithm algorithm = { .master_xfer = transfer, .functionality = functionality };

static struct i2c_adapter adapter = {
	.owner = THIS_MODULE,
	.name = "simulated I2C bus",
	.algo = &algorithm,
	.nr = 1,
};

/* A chip that is unplugged loses its registers. */
static int present_get(void *data, u64 *value)
{
	*value = ((struct chip *)data)->present;
	return 0;
}

static int present_set(void *data, u64 value)
{
	struct chip *chip = data;

	mutex_lock(&gate);
	chip->present = value;
	if (!value)
		chip->powered = false;
	mutex_unlock(&gate);
	return 0;
}
DEFINE_DEBUGFS_ATTRIBUTE(present_fops, present_get, present_set, "%llu\n");

static int __init start(void)
{
	int i;

	crc8_populate_msb(crc_table, 0x31);
	directory = debugfs_create_dir("sim_i2c", NULL);
	debugfs_create_u32("fail_next", 0644, directory, &fail_next);
	debugfs_create_u32("error", 0644, directory, &error_number);
	debugfs_create_u32("transfers", 0444, directory, &transfers);
	for (i = 0; i < ARRAY_SIZE(chips); i++) {
		struct chip *chip = &chips[i];
		struct dentry *own;
		char name[8];

		chip->present = 1;
		chip->temperature = chip->is_bme ? 519888 : 0x6666;
		chip->pressure = 415148;
		chip->humidity = chip->is_bme ? 30000 : 0x8000;
		snprintf(name, sizeof(name), "%02x", chip->address);
		own = debugfs_create_dir(name, directory);
		debugfs_create_file_unsafe("present", 0644, own, chip, &present_fops);
		debugfs_create_u32("temperature", 0644, own, &chip->temperature);
		debugfs_create_u32("pressure", 0644, own, &chip->pressure);
		debugfs_create_u32("humidity", 0644, own, &chip->humidity);
		debugfs_create_u32("bad_crc", 0644, own, &chip->bad_crc);
	}
	i = i2c_add_numbered_adapter(&adapter);
	if (i)
		debugfs_remove_recursive(directory);
	return i;
}

static void __exit stop(void)
{
	i2c_del_adapter(&adapter);
	debugfs_remove_recursive(directory);
}

module_init(start);
module_exit(stop);
MODULE_LICENSE("GPL");
MODULE_DESCRIPTION("I2C adapter with simulated BME280 and SHT3x, for tests");
